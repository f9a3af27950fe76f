"""A process's analyzers: each is made when its name is first asked for."""

from __future__ import annotations

import logging
import pkgutil
import threading

from rowfleet import analyzer_kinds
from rowfleet.analysis import AnalysisError, Misconfigured
from rowfleet.errors import InputError
from rowfleet.settings import Settings
from worker.analyzers import Analyzer
from worker.analyzers.checked import Checked

log = logging.getLogger(__name__)


class Registry:
    """Analyzers by name. Thread-safe; a forked child makes a registry of its own."""

    def __init__(self, settings: Settings) -> None:
        """``settings`` are what each analyzer is made from."""
        self._settings = settings
        self._lock = threading.Lock()
        self._made: dict[str, Analyzer] = {}

    def get(self, name: str) -> Analyzer:
        """Return the analyzer of that name. Raises Misconfigured if it can't be made."""
        with self._lock:
            if name not in self._made:
                self._made[name] = self._make(name)
            return self._made[name]

    def put(self, name: str, analyzer: Analyzer) -> None:
        """Let ``analyzer`` answer under ``name``, in place of the registered one."""
        with self._lock:
            self._made[name] = analyzer

    def _make(self, name: str) -> Analyzer:
        try:
            kind = analyzer_kinds.get(name)
            made: Analyzer = pkgutil.resolve_name(kind.made_by)(self._settings)
        except AnalysisError:
            raise
        except InputError as error:
            raise Misconfigured(str(error)) from None
        except Exception as error:  # a plug-in's code may raise anything
            log.exception("the analyzer %s can't be made", name)
            raise Misconfigured(
                f"the analyzer {name} can't be made where the workers run "
                f"({type(error).__name__}); the worker's log says why"
            ) from None
        return made if name in analyzer_kinds.BUILT_IN else Checked(made)
