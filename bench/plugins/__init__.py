"""Finds, describes and lazily loads plugins; what their settings allow, in words."""

from bench.plugins.registry import KINDS, Description, Kind, Plugin, PluginError, Registry, build, is_file, plain_name

__all__ = ["KINDS", "Description", "Kind", "Plugin", "PluginError", "Registry", "build", "is_file", "plain_name"]
