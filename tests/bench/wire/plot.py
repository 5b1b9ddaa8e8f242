#!/usr/bin/env python3
"""Draws what tandem-wire-bench --json wrote: plot.py wire.json [DIRECTORY].

Makes throughput.png (calls a second by calls in flight), latency.png
(percentiles of one call) and cost.png (CPU of both sides for a call), a panel for
each size of message.
"""

import json
import pathlib
import statistics
import sys

try:
    import matplotlib

    matplotlib.use("Agg")  # No display.
    import matplotlib.pyplot as plt
    import matplotlib.ticker
except ImportError:
    sys.exit(
        "plot.py: matplotlib is missing: install python3-matplotlib (Debian), or"
        " `pip install matplotlib`, and use that Python"
    )

PERCENTILES = [("p50_us", "50"), ("p90_us", "90"), ("p99_us", "99"), ("p999_us", "99.9")]


def size(payload):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if payload >= unit:
            return f"{payload // unit} {name}"
    return f"{payload} B"


def values(row, key):
    return [one[key] for one in row["rounds"]]


def panels(cells, title):
    """A figure with a panel for each payload: (payload, axes) and the figure."""
    payloads = sorted({cell["payload"] for cell in cells})
    figure, axes = plt.subplots(
        1, len(payloads), figsize=(5.5 * len(payloads), 5.5), squeeze=False
    )
    figure.suptitle(title)
    return figure, list(zip(payloads, axes[0]))


def finish(figure, axes, path):
    handles = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncol=8, fontsize=8)
    figure.tight_layout(rect=(0, 0.09, 1, 0.97))
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(path)


def subjects(cells):
    found = []
    for cell in cells:
        for row in cell["rows"]:
            if row["subject"] not in found:
                found.append(row["subject"])
    return found


def style(names):
    colors = plt.get_cmap("tab20").colors
    return {
        name: {"color": colors[i % len(colors)], "marker": "os^Dvx+*"[i % 8]}
        for i, name in enumerate(names)
    }


def by_depth(cells, styles, value, title, ylabel, path):
    """Median and spread of value(round) by depth."""
    figure, pairs = panels(cells, title)
    for payload, axes in pairs:
        for name, look in styles.items():
            points = []
            for cell in cells:
                if cell["payload"] != payload:
                    continue
                for row in cell["rows"]:
                    if row["subject"] == name:
                        points.append((cell["depth"], [value(one) for one in row["rounds"]]))
            if not points:
                continue
            points.sort()
            depths = [depth for depth, _ in points]
            medians = [statistics.median(all_rounds) for _, all_rounds in points]
            low = [m - min(r) for m, (_, r) in zip(medians, points)]
            high = [max(r) - m for m, (_, r) in zip(medians, points)]
            axes.errorbar(depths, medians, yerr=[low, high], label=name, capsize=2,
                          linewidth=1, markersize=4, **look)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
        axes.set_yscale("log")
        axes.set_title(f"{size(payload)} each way")
        axes.set_xlabel("calls in flight")
        axes.set_ylabel(ylabel)
        axes.grid(True, which="both", linewidth=0.3)
    finish(figure, [axes for _, axes in pairs], path)


def latency(cells, styles, path):
    """Percentiles of one call, at each depth: one line for each subject."""
    depths = sorted({cell["depth"] for cell in cells})
    payloads = sorted({cell["payload"] for cell in cells})
    figure, grid = plt.subplots(
        len(depths), len(payloads), squeeze=False,
        figsize=(5.5 * len(payloads), 4 * len(depths)),
    )
    figure.suptitle("How long a call takes")
    for cell in cells:
        axes = grid[depths.index(cell["depth"])][payloads.index(cell["payload"])]
        for row in cell["rows"]:
            medians = [statistics.median(values(row, key)) for key, _ in PERCENTILES]
            axes.plot([name for _, name in PERCENTILES], medians, label=row["subject"],
                      linewidth=1, markersize=4, **styles[row["subject"]])
        axes.set_yscale("log")
        axes.set_title(f"{cell['depth']} in flight, {size(cell['payload'])}")
        axes.set_xlabel("percentile")
        axes.set_ylabel("us")
        axes.grid(True, which="both", linewidth=0.3)
    finish(figure, list(grid.flat), path)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    source = pathlib.Path(sys.argv[1])
    directory = pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else source.parent
    directory.mkdir(parents=True, exist_ok=True)
    report = json.loads(source.read_text())
    cells = [cell for cell in report["cells"] if cell["kind"] == "calls"]
    if not cells:
        sys.exit(f"plot.py: {source} has no figures of calls")
    styles = style(subjects(cells))
    by_depth(cells, styles, lambda one: one["per_second"], "Calls a second",
             "calls/s", directory / "throughput.png")
    by_depth(cells, styles, lambda one: one["client_cpu_us"] + one["server_cpu_us"],
             "CPU of client and server for a call", "us", directory / "cost.png")
    latency(cells, styles, directory / "latency.png")


if __name__ == "__main__":
    main()
