"""The page of a calibration: the promise, the curve, every setting; one HTML file."""

from html import escape

from cluster.evaluation.page import STYLE, cells, folded, section, table_html
from cluster.guarantee.picture import curve
from cluster.guarantee.record import Calibration

OWN = """
p.promise{background:#e9f5ec;padding:.7rem .9rem;font-size:1.05rem} p.none{background:#fdecea}
.tiles{display:flex;flex-wrap:wrap;gap:.6rem;margin:1.2rem 0}
.tile{border:1px solid #cbd2d9;border-radius:.4rem;padding:.5rem .9rem;min-width:7rem}
.tile b{display:block;font-size:1.25rem;font-weight:600} .tile span{color:#52606d;font-size:.8rem}
tr.chosen td{font-weight:600;background:#f6ddd7}
"""
UNKNOWN = "–"
# Share of copies from which a mean over texts and one over rows may differ by more than rounding.
MANY_COPIES = 0.05


def page(record: Calibration) -> bytes:
    """The page as UTF-8 HTML."""
    kind = "promise" if record.policy.promises else "promise none"
    title = escape(f"{record.policy.floor:g} of {record.policy.reference}, at the least cost")
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="note">{escape(_about(record))}</p>',
        f'<p class="{kind}">{escape(record.promise)}</p>',
        _tiles(record),
        _counted(record),
        _curve(record),
        _settings(record),
        _shares(record),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}{OWN}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    ).encode()


def _about(record: Calibration) -> str:
    of = f"scorer {record.scorer}" if record.scorer else "its scorer"
    return (
        f"Router {record.router[:12]} on split calibration of dataset {record.dataset}, {of}, "
        f"with prices of the day. The promise is for this version of the router and these prices: "
        "another price changes who is the cheapest, and asks for another calibration. Name the "
        "router first, and the floor, delta, bound, reference and constraints with it: what is "
        "picked because its calibration looks best was selected on these rows, and promises less."
    )


def _tiles(record: Calibration) -> str:
    chosen = record.chosen
    cost = {"price of a token, reference 100 %": f"{100 * record.token_price(chosen.shares):.0f} %"}
    if record.saved is not None:
        cost = {
            "cost, reference 100 %": f"{100 * (1 - record.saved):.0f} %",
            "USD per 1,000 queries": f"{chosen.usd_per_1000:.4g}",
        }
    shown = cost | {
        "of the reference's reward, on these rows": f"{100 * chosen.kept:.1f} %",
        "of the queries leave the reference": f"{100 * chosen.elsewhere:.0f} %",
        "calibration rows": f"{record.rows:,}",
    }
    tiles = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in shown.items()
    )
    return f'<div class="tiles">{tiles}</div>'


def _counted(record: Calibration) -> str:
    """What did not count, and what was taken at its worst."""
    words = []
    if record.left_out:
        told = "; ".join(f"{n:,} that {reason}" for reason, n in record.left_out.items())
        words.append(f"Rows left out: {told}.")
    if record.copies > MANY_COPIES:
        words.append(
            f"{100 * record.copies:.0f} % of the calibration rows repeat a text. The promise "
            "counts each text once: where some texts are asked much more often than others and the "
            "router does worse on those, the mean over rows can be below the floor."
        )
    if record.missing:
        told = ", ".join(f"{n:,} of {name}" for name, n in record.missing.items())
        words.append(
            f"Missing rewards ({told}) are taken at their worst: 0 where the candidate was "
            f"chosen, {record.reward_max:g} for the reference it is held against."
        )
    if record.effective < record.rows - 0.5:
        words.append(
            f"Rows were picked with differing probability and count with its inverse: as "
            f"{record.effective:,.0f} rows of equal weight."
        )
    return "\n".join(f'<p class="note">{escape(one)}</p>' for one in words)


def _curve(record: Calibration) -> str:
    return section(
        "Cost and quality",
        note="Every setting of the path, from the reference alone to the cheapest. Settings are "
        "tried in that order, which was fixed before these rows were looked at; the first that "
        "fails ends it. The lower bound is that of one setting looked at alone.",
        body=curve(record),
    )


def _settings(record: Calibration) -> str:
    table = record.table()
    lines = [
        f'<tr class="{row["verdict"]}">{cells([_text(value) for value in row.values()])}</tr>'
        for row in table
    ]
    return section(
        "Settings",
        note="tau: the predicted reward that a cheaper candidate may lack (below 0: must gain). "
        f"At least: what is kept of the reference's reward with confidence "
        f"{1 - record.policy.delta:g}.",
        body=table_html(list(table[0]), lines),
    )


def _text(value: object) -> str:
    return UNKNOWN if value is None else str(value)


def _shares(record: Calibration) -> str:
    names = record.policy.candidates
    rows = [
        cells(
            [
                record.label(one),
                *(f"{100 * one.shares[name]:.1f}" for name in names),
            ]
        )
        for one in record.settings
    ]
    body = table_html(("tau", *names), [f"<tr>{row}</tr>" for row in rows])
    return folded("Who gets the queries, %", body=body)
