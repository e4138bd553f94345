"""From rules to relational algebra: strata, semi-naive versions and join orders."""
