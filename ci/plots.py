"""The plots of ci/bench, for light and for dark pages."""
import matplotlib

matplotlib.use("svg")
# pylint: disable=wrong-import-position
from matplotlib import pyplot  # noqa: E402

import experiments  # noqa: E402

# Neither black nor white, and two colours that differ in brightness, too
INK = "#808080"
COLOURS = ("#9aa7b8", "#e0702f")
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "qemu-thrift", "font.size": 10,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK,
    "xtick.color": INK, "ytick.color": INK, "legend.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False,
}


def bars(axes, experiment, rows, unit):
    """Two bars for each case of that unit, and their spread."""
    stock, ours = experiment.variants
    found = [(case, experiments.median(rows, case, stock),
              experiments.median(rows, case, ours))
             for case in experiments.cases(rows)
             if experiment.in_table(case) and
             any(row["unit"] == unit for row in rows if row["case"] == case)]
    found = [item for item in found if item[1] and item[2]]
    places = range(len(found), 0, -1)
    for i, colour in enumerate(COLOURS):
        values = [item[1 + i] for item in found]
        axes.barh([place + 0.2 - 0.4 * i for place in places],
                  [value[0] for value in values], height=0.38, color=colour,
                  label=experiment.variants[i], ecolor=INK, capsize=2,
                  xerr=[[value[0] - value[1] for value in values],
                        [value[2] - value[0] for value in values]])
    axes.set_yticks(list(places), [item[0] for item in found])
    axes.set_xscale("log")
    axes.set_xlabel(unit)
    axes.grid(axis="x", color=INK, alpha=0.3)
    axes.set_axisbelow(True)
    return len(found)


def draw(experiment, rows, path):
    """All cases of an experiment, one unit above the other."""
    units = list(dict.fromkeys(row["unit"] for row in rows
                               if experiment.in_table(row["case"])))
    heights = [len({row["case"] for row in rows if row["unit"] == unit and
                    experiment.in_table(row["case"])}) for unit in units]
    with pyplot.rc_context(STYLE):
        figure, all_axes = pyplot.subplots(
            len(units), 1, squeeze=False, height_ratios=heights,
            figsize=(8, 1 + 0.6 * len(units) + 0.42 * sum(heights)))
        for axes, unit in zip(all_axes[:, 0], units):
            bars(axes, experiment, rows, unit)
        all_axes[0, 0].set_title(experiment.title, color=INK, loc="left")
        all_axes[0, 0].legend(frameon=False, loc="lower right",
                              bbox_to_anchor=(1, 1), ncols=2)
        figure.tight_layout()
        figure.savefig(path, transparent=True, metadata={"Date": None})
        pyplot.close(figure)
