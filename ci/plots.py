"""The plots of ci/bench, for light and for dark pages."""
import matplotlib

matplotlib.use("svg")
# pylint: disable=wrong-import-position
from matplotlib import pyplot, ticker  # noqa: E402

import experiments  # noqa: E402

# Neither black nor white, and two colours that differ in brightness, too
INK = "#808080"
COLOURS = ("#9aa7b8", "#e0702f")
# Values that a linear scale shows side by side
FAR_APART = 20
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
             if experiment.in_table(case) and
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


def lines(axes, experiment, found):
    """A line for each variant, and its spread."""
    what, unit, variants = found
    for colour, variant in zip(COLOURS, experiment.variants):
        line = variants[variant]
        places = [point[0] for point in line]
        axes.plot(places, [point[1][0] for point in line], color=colour,
                  marker="o", label=variant)
        axes.fill_between(places, [point[1][1] for point in line],
                          [point[1][2] for point in line], color=colour,
                          alpha=0.2, linewidth=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(what)
    axes.set_ylabel(unit)
    axes.grid(color=INK, alpha=0.3)


def draw(experiment, rows, path):
    """All cases of an experiment, one unit above the other."""
    units = list(dict.fromkeys(row["unit"] for row in rows
                               if experiment.in_table(row["case"])))
    heights = [len({row["case"] for row in rows if row["unit"] == unit and
                    experiment.in_table(row["case"])}) for unit in units]
    found = experiment.curves(rows)
    if found:
        heights.append(8)
    with pyplot.rc_context(STYLE):
        figure, all_axes = pyplot.subplots(
            len(heights), 1, squeeze=False, height_ratios=heights,
            figsize=(8, 1 + 0.6 * len(heights) + 0.42 * sum(heights)))
        for axes, unit in zip(all_axes[:, 0], units):
            bars(axes, experiment, rows, unit)
        if found:
            lines(all_axes[-1, 0], experiment, found)
        all_axes[0, 0].set_title(experiment.title, color=INK, loc="left",
                                 pad=26)
        all_axes[0, 0].legend(frameon=False, loc="lower right",
                              bbox_to_anchor=(1, 1), ncols=2)
        figure.tight_layout()
        figure.savefig(path, transparent=True, metadata={"Date": None})
        pyplot.close(figure)
