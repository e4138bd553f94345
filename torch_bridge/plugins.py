"""Plugins: packages that add foreign functions, relations and rules to a context."""

from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, final

from scallax import foreign_attribute, foreign_function, foreign_predicate
from scallax.analysis import ErrorAction
from scallax.errors import Diagnostic, InputError
from scallax.facts import text_reader
from scallax.language import ValueType
from torch_bridge.context import ScallopContext

GROUP = "scallop.plugin"


class Plugin:
    """Base class of plugins, which add relations, functions and rules to contexts. Its methods do nothing.

    Args:
        name: The name of the plugin. Default: the name of its class.

    Raises:
        InputError: The name is not a text.

    Example:
        >>> import torch_bridge
        >>> class Colors(torch_bridge.Plugin):
        ...     def load_into_ctx(self, ctx):
        ...         ctx.add_program('rel color = {"red", "green"}')
        >>> context = torch_bridge.ScallopContext()
        >>> Colors().load_into_ctx(context)
        >>> context.run()
        >>> list(context.relation("color"))
        [('green',), ('red',)]
    """

    def __init__(self, name: str | None = None):
        if name is not None and not isinstance(name, str):
            raise InputError(f"the name of a plugin is {name!r}; it must be a text")
        self.name = type(self).__name__ if name is None else name

    def setup_argparse(self, parser: ArgumentParser) -> None:
        """Adds the arguments of the plugin to a parser of the command line."""

    def configure(self, args: Mapping[str, Any], unknown_args: Sequence[str]) -> None:
        """Takes the arguments of the command line.

        Args:
            args: The parsed arguments by name.
            unknown_args: The arguments that no parser knew, as texts in order.
        """

    def load_into_ctx(self, ctx: ScallopContext) -> None:
        """Adds everything that the plugin provides to a context."""


@final
class CmdArgPlugin(Plugin):
    """The attribute `@cmd_arg("-x", long="--xs", default=0) type x(i32)`: a fact from the command line.

    The relation's one fact is an argument of the command line, read from those that no parser knew. If it is absent and
    has no default, the relation is empty.
    """

    def __init__(self):
        super().__init__()
        self._arguments: Sequence[str] = ()

    def configure(self, args: Mapping[str, Any], unknown_args: Sequence[str]) -> None:
        self._arguments = list(unknown_args)

    def load_into_ctx(self, ctx: ScallopContext) -> None:
        arguments = self._arguments

        @foreign_attribute
        def cmd_arg(item, short: str, *, long=None, default=None):
            if len(item.relation_decls()) != 1 or len(item.relation_decl(0).arg_bindings) != 1:
                return ErrorAction("`@cmd_arg` belongs before the type of one relation of one column")
            declared = item.relation_decl(0)
            kind = declared.arg_bindings[0].type
            parser = ArgumentParser(add_help=False, exit_on_error=False)
            names = [short] if long is None else [short, long]
            parser.add_argument(*names, dest="value", default=default, type=_python_type(kind.value_type))
            try:
                value = parser.parse_known_args(list(arguments))[0].value
            except ArgumentError as error:  # what was given is no value of the type
                return ErrorAction(f"the command line is wrong: {error}")

            @foreign_predicate(name=declared.name, input_arg_types=[], output_arg_types=[kind], tag_type=None)
            def get_argument():
                if value is not None:
                    yield (value,)

            return get_argument

        ctx.register_foreign_attribute(cmd_arg)


@final
class PyEvalPlugin(Plugin):
    """The attribute `@py_eval type $name(text: String) -> i32`: the function evaluates a text as a Python expression.

    Use it only with programs whose texts you trust with everything that Python can do. A text without a value drops the
    tuple.
    """

    def load_into_ctx(self, ctx: ScallopContext) -> None:
        @foreign_attribute
        def py_eval(item, *, suppress_warning=True):
            types = item.function_decl_arg_types() if item.is_function_decl() else []
            if len(types) != 1 or types[0].value_type is not ValueType.STRING:
                return ErrorAction("`@py_eval` belongs before the type of a function of one String")

            @foreign_function(
                name=item.function_decl_name(),
                arg_types=[types[0]],
                ret_type=item.function_decl_ret_type(),
                suppress_warning=suppress_warning,
            )
            def evaluate(text):
                return eval(text)

            return evaluate

        ctx.register_foreign_attribute(py_eval)


def _python_type(kind: ValueType | None) -> Callable[[str], Any]:
    """A function that reads an argument of the command line as a value of a type."""
    if kind is None:
        return str
    reader = text_reader(kind)

    def read(text: str) -> Any:
        value = reader(text)
        if value is None:
            raise ValueError
        return value

    read.__name__ = str(kind)
    return read


class PluginRegistry:
    """Plugins by name, in the order in which they were loaded.

    Args:
        load_stdlib: True loads the plugins of this package.
        load_from_entry_points: True loads the plugins of installed packages, which name their class in the entry-point
            group `scallop.plugin`.
        read_cmd_args: Changes nothing; the reference has it. `configure` takes the arguments.
        filter: A function from the name of an entry point to whether its plugin is loaded. Default: all are.

    Raises:
        InputError: A plugin of an installed package cannot be loaded.

    Example:
        >>> import torch_bridge
        >>> registry = torch_bridge.PluginRegistry(load_stdlib=True)
        >>> registry.configure({}, ["-n", "3"])
        >>> context = torch_bridge.ScallopContext()
        >>> registry.load_into_ctx(context)
        >>> context.add_program('@cmd_arg("-n", default=0) type n(i32)')
    """

    def __init__(
        self,
        load_stdlib: bool = False,
        load_from_entry_points: bool = False,
        read_cmd_args: bool = True,
        filter: Callable[[str], bool] | None = None,
    ):
        self._plugins: dict[str, Plugin] = {}
        self._filter = filter
        if load_stdlib:
            self.load_stdlib()
        if load_from_entry_points:
            self.load_plugins_from_entry_points()

    def load_plugin(self, plugin: Plugin, overwrite: bool = False) -> None:
        """Adds a plugin.

        Args:
            plugin: An object of a subclass of `torch_bridge.Plugin`.
            overwrite: True replaces a plugin of the same name.

        Raises:
            InputError: The object is not a plugin, or its name is taken and not `overwrite`.
        """
        if not isinstance(plugin, Plugin):
            raise InputError(f"{plugin!r} is no plugin; derive its class from `torch_bridge.Plugin`")
        if plugin.name in self._plugins and not overwrite:
            message = f"there is a plugin `{plugin.name}` already"
            raise InputError(Diagnostic(message, hint="give `overwrite=True` to replace it"))
        self._plugins[plugin.name] = plugin

    def load_stdlib(self) -> None:
        """Adds the plugins that come with this package."""
        for plugin in (CmdArgPlugin(), PyEvalPlugin()):
            self.load_plugin(plugin)

    def load_plugins_from_entry_points(self) -> None:
        """Adds the plugins of installed packages. InputError names every plugin that cannot be loaded."""
        problems = []
        for entry in entry_points(group=GROUP):
            if self._filter is not None and not self._filter(entry.name):
                continue
            try:
                self.load_plugin(entry.load()())
            except (ImportError, AttributeError, TypeError) as error:  # no such module or class, no class at all
                problems.append(f"the plugin `{entry.name}` ({entry.value}) cannot be loaded: {error}")
        if problems:
            raise InputError(*problems)

    def remove_all_plugins(self) -> None:
        """Forgets all plugins."""
        self._plugins.clear()

    def loaded_plugins(self) -> list[str]:
        """The names of the plugins."""
        return list(self._plugins)

    def dump_loaded_plugins(self) -> None:
        """Prints the names of the plugins."""
        print(f"loaded plugins: {', '.join(self._plugins)}")

    def setup_argument_parser(self, parser: ArgumentParser) -> None:
        """Adds the arguments of all plugins to a parser."""
        for plugin in self._plugins.values():
            plugin.setup_argparse(parser)

    def configure(
        self, args: Mapping[str, Any] | Namespace | None = None, unknown_args: Sequence[str] | None = None
    ) -> None:
        """Gives the arguments of the command line to all plugins, as `parse_known_args` returns them.

        Args:
            args: The parsed arguments. Default: none.
            unknown_args: The arguments that no parser knew. Default: none.
        """
        found = vars(args) if isinstance(args, Namespace) else dict(args or {})
        for plugin in self._plugins.values():
            plugin.configure(found, list(unknown_args or []))

    def load_into_ctx(self, ctx: ScallopContext) -> None:
        """Adds everything that the plugins provide to a context."""
        for plugin in self._plugins.values():
            plugin.load_into_ctx(ctx)
