"""How fast training goes, and the line that says so."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO


@dataclass
class Meter:
    """Tokens trained since the start, for the progress line and the metrics."""

    started: float = field(default_factory=time.monotonic)
    tokens: int = 0
    steps: int = 0

    def rate(self) -> float:
        return self.tokens / max(time.monotonic() - self.started, 1e-9)


@dataclass
class Line:
    """The progress line: rewritten in place on a terminal, a line every ten seconds elsewhere."""

    stream: TextIO
    meter: Meter
    shown: float = field(default_factory=time.monotonic)

    def show(self, step: int, steps: int, f1: Sequence[float], now: bool = False) -> None:
        terminal = self.stream.isatty()
        if not now and time.monotonic() - self.shown < (0.5 if terminal else 10):
            return
        self.shown = time.monotonic()
        left = (steps - step) * (self.shown - self.meter.started) / max(self.meter.steps, 1)
        quality = f" · validation macro-F1 {f1[-1]:.3f}" if f1 else ""
        text = f"train {step}/{steps} · {self.meter.rate():,.0f} tokens/s{quality} · {left:.0f} s left"
        self.stream.write(f"\r\033[K{text}" if terminal else f"{text}\n")
        if terminal and step == steps:
            self.stream.write("\n")
        self.stream.flush()
