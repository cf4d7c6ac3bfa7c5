"""What a killed command leaves of a store in the making: a server, an admin tool, a folder."""

from __future__ import annotations

import logging
import shutil

import psutil

from feature_graph.database.server import process
from feature_graph.database.server.homes import Home, staging_folder
from feature_graph.database.server.java import ADMIN_CLASS

logger = logging.getLogger(__name__)


def clear_staging(home: Home) -> None:
    """End the processes that still work in the home's staging folder, and remove it. The caller holds the home's lock."""
    stage = Home(staging_folder(home), "staging")
    if not stage.root.exists():
        return
    server = process.find(stage)
    if server is not None:
        process.end(server)
    for tool in psutil.process_iter():
        if _is_tool_of(tool, stage):
            logger.info("ending the admin tool (process %d) of an earlier try", tool.pid)
            process.end(tool)
    shutil.rmtree(stage.root)


def _is_tool_of(tool: psutil.Process, stage: Home) -> bool:
    try:
        command = tool.cmdline()
    except psutil.Error:
        return False
    return ADMIN_CLASS in command and f"@{stage.run / 'java.args'}" in command
