"""The two executors whose names and signatures are the standard library's; each has its kind of worker fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._executor import ProgressExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .progress import Reporter


class ProcessPoolExecutor(ProgressExecutor):
    """ProgressExecutor with worker processes, and the signature of the standard library's ProcessPoolExecutor."""

    _fixed_kind: str | None = "process"

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        progress: bool | str | Reporter | Callable[..., Any] | None = None,
        relay: bool | None = None,
        desc: str | None = None,
        unit: str = "task",
        tqdm_options: dict[str, Any] | None = None,
        idle_seconds: float | None = None,
        preload: Sequence[str] | str | None = None,
        retries: int | None = None,
        task_timeout: float | None = None,
        worker_memory_mb: float | None = None,
    ) -> None:
        super().__init__(
            max_workers, mp_context, initializer, initargs, max_tasks_per_child=max_tasks_per_child,
            progress=progress, relay=relay, desc=desc, unit=unit, tqdm_options=tqdm_options, idle_seconds=idle_seconds,
            retries=retries, preload=preload, task_timeout=task_timeout, worker_memory_mb=worker_memory_mb,
        )  # fmt: skip


class ThreadPoolExecutor(ProgressExecutor):
    """ProgressExecutor with threads, and the signature of the standard library's ThreadPoolExecutor."""

    _fixed_kind = "thread"

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        progress: bool | str | Reporter | Callable[..., Any] | None = None,
        desc: str | None = None,
        unit: str = "task",
        tqdm_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            max_workers, None, initializer, initargs, progress=progress, desc=desc, unit=unit,
            tqdm_options=tqdm_options, thread_name_prefix=thread_name_prefix,
        )  # fmt: skip
