"""Finds, describes and lazily loads plugins; what their settings allow, in words."""

from bench.plugins.descriptions import Description
from bench.plugins.kinds import KINDS, Kind, PluginError
from bench.plugins.registry import Plugin, Registry, build, is_file, plain_name

__all__ = ["KINDS", "Description", "Kind", "Plugin", "PluginError", "Registry", "build", "is_file", "plain_name"]
