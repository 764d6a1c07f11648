"""The plots of ci/bench, for light and for dark pages."""
import matplotlib

matplotlib.use("svg")
# pylint: disable=wrong-import-position
from matplotlib import pyplot, ticker  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402

from lib import experiments  # noqa: E402

# Neither black nor white, and two colours that differ in brightness, too
INK = "#808080"
COLOURS = ("#9aa7b8", "#e0702f")
# Values that a linear scale shows side by side
FAR_APART = 20
# Of the stages of a variant
STYLES = ({"marker": "o"}, {"marker": ".", "linestyle": "--"},
          {"marker": ".", "linestyle": ":"})
NUMBERS = ticker.FuncFormatter(lambda value, _: f"{value:,.10g}")
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "qemu-thrift", "font.size": 10,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK,
    "xtick.color": INK, "ytick.color": INK, "legend.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False,
}


def bars(axes, experiment, rows, unit):
    """Both variants for each case of that unit, and their spread."""
    stock, ours = experiment.variants
    found = [(case, experiments.median(rows, case, stock),
              experiments.median(rows, case, ours))
             for case in experiments.cases(rows)
             if experiment.drawn(case) and
             any(row["unit"] == unit for row in rows if row["case"] == case)]
    found = [item for item in found if item[1] and item[2]]
    places = range(len(found), 0, -1)
    middles = [value[0] for item in found for value in item[1:]]
    far_apart = max(middles) > FAR_APART * min(middles)
    (points if far_apart else from_zero)(axes, experiment, found, places)
    axes.set_yticks(list(places), [item[0] for item in found])
    axes.set_ylim(0.4, len(found) + 0.6)
    axes.xaxis.set_major_formatter(NUMBERS)
    axes.set_xlabel(unit)
    axes.grid(axis="x", color=INK, alpha=0.3)
    axes.set_axisbelow(True)
    return len(found)


def from_zero(axes, experiment, found, places):
    """Bars, whose length is the value."""
    for i, colour in enumerate(COLOURS):
        middle, spread = values_of(found, i)
        axes.barh([place + 0.2 - 0.4 * i for place in places], middle,
                  height=0.38, color=colour, label=experiment.variants[i],
                  ecolor=INK, capsize=2, xerr=spread)


def points(axes, experiment, found, places):
    """Points, as a logarithmic scale has no zero for bars to start at."""
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.hlines(places, [item[1][0] for item in found],
                [item[2][0] for item in found], color=INK, alpha=0.5)
    for i, colour in enumerate(COLOURS):
        middle, spread = values_of(found, i)
        axes.errorbar(middle, [place + 0.08 - 0.16 * i for place in places],
                      xerr=spread, fmt="o", markersize=8, color=colour,
                      ecolor=colour, capsize=2, label=experiment.variants[i])


def values_of(found, i):
    """Medians of one variant, and how far it goes to both sides."""
    values = [item[1 + i] for item in found]
    return [value[0] for value in values], [
        [value[0] - value[1] for value in values],
        [value[2] - value[0] for value in values]]


def panels(place, experiment, curves):
    """A panel beside the other, on one scale.  Returns: all of them"""
    all_axes = place.subgridspec(1, len(curves.panels)).subplots(
        sharey=True, squeeze=False)[0]
    for axes, (title, variants) in zip(all_axes, curves.panels.items()):
        for colour, variant in zip(COLOURS, experiment.variants):
            lines(axes, variants[variant], colour, variant)
        if curves.log:
            log_scales(axes)
        else:
            axes.set_ylim(bottom=0)
        axes.text(0.04, 0.97, title, va="top", transform=axes.transAxes)
        axes.grid(color=INK, alpha=0.3)
        axes.set_xlabel(curves.what)
    all_axes[0].set_ylabel(curves.unit)
    if any(any(variants[name][1:]) for variants in curves.panels.values()
           for name in experiment.variants):
        name_stages(all_axes[0], curves.names)
    return all_axes


def log_scales(axes):
    """On both axes, with a tick for each point of the lines."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    places = sorted({x for line in axes.get_lines() for x in line.get_xdata()})
    axes.set_xticks(places, [f"{x:.2g}" if x < 10 else f"{x:.0f}"
                             for x in places], fontsize=8)
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.yaxis.set_major_formatter(NUMBERS)


def lines(axes, stages, colour, variant):
    """A line for each stage of a variant, and the spread of the first."""
    for style, line in zip(STYLES, stages):
        axes.plot([point[0] for point in line],
                  [point[1][0] for point in line], color=colour,
                  label=None if style["marker"] == "." else variant, **style)
    axes.fill_between([point[0] for point in stages[0]],
                      [point[1][1] for point in stages[0]],
                      [point[1][2] for point in stages[0]], color=colour,
                      alpha=0.2, linewidth=0)


def name_stages(axes, names):
    """A legend of its own, where the first panel has no lines."""
    axes.legend([Line2D([], [], color=INK, **style)
                 for style in STYLES[:len(names)]],
                names, loc="lower right", frameon=False, fontsize=8)


def draw(experiment, rows, path):
    """All cases of an experiment, one unit above the other."""
    rows = [row for row in rows if row["value"] is not None]
    units = list(dict.fromkeys(row["unit"] for row in rows
                               if experiment.drawn(row["case"])))
    heights = [len({row["case"] for row in rows if row["unit"] == unit and
                    experiment.drawn(row["case"])}) for unit in units]
    found = [curves for curves in experiment.curves(rows) if curves.panels]
    heights += [8] * len(found)
    if not heights:
        return
    with pyplot.rc_context(STYLE):
        figure = pyplot.figure(
            figsize=(8, 1 + 0.6 * len(heights) + 0.42 * sum(heights)))
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        all_axes = []
        for place, unit in zip(grid, units):
            all_axes.append(figure.add_subplot(place))
            bars(all_axes[-1], experiment, rows, unit)
        for i, curves in enumerate(found, len(units)):
            all_axes += list(panels(grid[i], experiment, curves))
        all_axes[0].set_title(experiment.title, color=INK, loc="left", pad=26)
        top = all_axes[0 if units else len(found[0].panels) - 1]
        top.legend(frameon=False, loc="lower right",
                   bbox_to_anchor=(1, 1), ncols=2)
        figure.tight_layout()
        figure.savefig(path, transparent=True, metadata={"Date": None})
        pyplot.close(figure)
