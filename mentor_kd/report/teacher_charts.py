"""Charts of the teacher, each drawn from one table of `filtering.summaries`."""

import pandas

from .figures import BLUE, GREY, INK, ORANGE, VERMILLION, Chart, name_rows, new_figure, require_columns


def task_chart(frame: pandas.DataFrame, title: str = "How often the teacher is right") -> Chart:
    """Accuracy by task with its interval; `frame` is `summaries.by_task`."""
    require_columns(frame, "task", "questions", "rationales", "accuracy", "low", "high")
    figure, (panel,) = new_figure(title, 1, 1, height=0.7 + 0.5 * len(frame), grid="x")
    name_rows(panel, list(frame["task"]))
    for place, row in enumerate(frame.itertuples()):
        panel.plot([row.low, row.high], [place, place], color=BLUE, linewidth=2.2, alpha=0.55, solid_capstyle="butt")
        panel.scatter([row.accuracy], [place], s=52, color=BLUE, zorder=4, gid="mean")
        label = f"{row.accuracy:.1f}% ({row.questions} questions, {row.rationales} rationales)"
        panel.annotate(label, (row.accuracy, place), (0, 7), textcoords="offset points", ha="center", fontsize=8)
    panel.set_xlim(0, 100)
    panel.set_xlabel("Correct rationales (%), mean over questions")
    note = "Bar: 95% t interval over questions (rationales of one question are not independent)."
    figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color=GREY)
    return figure


def policy_chart(frame: pandas.DataFrame, share: float, title: str = "Cost and bias of asking more often") -> Chart:
    """Cost and bias of sampling policies side by side.

    `frame` is `summaries.policy_table`, `share` the percentage of hard questions in the data.
    """
    require_columns(frame, "policy", "draws_for_each", "hard_share", "questions")
    figure, (cost, bias) = new_figure(title, 2, 2, height=0.9 + 0.5 * len(frame), grid="x", sharey=True)
    name_rows(cost, list(frame["policy"]))
    bars = cost.barh(range(len(frame)), frame["draws_for_each"], height=0.6, color=ORANGE)
    cost.bar_label(bars, [f"{value:.2f}" for value in frame["draws_for_each"]], padding=3, fontsize=9, color=INK)
    cost.set_xlabel("Samples paid for per correct rationale kept")
    cost.margins(x=0.16)
    name_rows(bias, list(frame["policy"]))
    bars = bias.barh(range(len(frame)), frame["hard_share"], height=0.6, color=BLUE)
    bias.bar_label(bars, [f"{value:.0f}%" for value in frame["hard_share"]], padding=3, fontsize=9, color=INK)
    bias.axvline(share, color=VERMILLION, linewidth=1.4, linestyle="--")
    bias.annotate(f"in the data: {share:.0f}%", (share, 1.0), (0, 3), xycoords=bias.get_xaxis_transform(),
                  textcoords="offset points", ha="center", fontsize=8, color=VERMILLION)  # fmt: skip
    bias.set_xlabel("Hard questions among kept rationales (%)")
    bias.set_xlim(0, max(1.0, 1.3 * max(share, frame["hard_share"].max())))
    return figure
