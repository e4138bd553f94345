"""Plugins: packages that add foreign functions, relations and rules to a context."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from scallax.errors import Diagnostic, InputError
from torch_bridge.context import ScallopContext

GROUP = "scallop.plugin"


class Plugin:
    """Base of plugins: what they do not define does nothing. `name` is by default that of the class."""

    def __init__(self, name: str | None = None):
        if name is not None and not isinstance(name, str):
            raise InputError(f"the name of a plugin is {name!r}; it must be a text")
        self.name = type(self).__name__ if name is None else name

    def setup_argparse(self, parser: ArgumentParser) -> None:
        """Adds the plugin's arguments to a parser of the command line."""

    def configure(self, args: Mapping[str, Any], unknown_args: Sequence[str]) -> None:
        """Takes the arguments that were parsed, and those that no parser knew."""

    def load_into_ctx(self, ctx: ScallopContext) -> None:
        """Adds to a context what the plugin provides."""


class PluginRegistry:
    """Plugins by name, in the order in which they were loaded.

    `load_from_entry_points` loads those of installed packages, which name their class in the entry-point group
    `scallop.plugin`; `filter` is a function of an entry point's name that says which. `read_cmd_args` is the
    reference's, and changes nothing: `configure` takes the arguments.
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
        """Adds a plugin. InputError if it is none, or if there is one of its name and not `overwrite`."""
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
        """Adds the plugins of installed packages. InputError, with every problem, for those that cannot be loaded."""
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
        """Gives all plugins the arguments, as `parse_known_args` returns them."""
        found = vars(args) if isinstance(args, Namespace) else dict(args or {})
        for plugin in self._plugins.values():
            plugin.configure(found, list(unknown_args or []))

    def load_into_ctx(self, ctx: ScallopContext) -> None:
        """Adds to a context what all plugins provide."""
        for plugin in self._plugins.values():
            plugin.load_into_ctx(ctx)
