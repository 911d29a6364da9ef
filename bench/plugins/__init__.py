"""Finds, describes and lazily loads plugins; what their settings allow, in words."""

from bench.plugins.registry import Description, Kind, Option, Plugin, PluginError, Registry, build, is_file, plain_name

__all__ = ["Description", "Kind", "Option", "Plugin", "PluginError", "Registry", "build", "is_file", "plain_name"]
