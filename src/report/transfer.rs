//! Errors of transferred kernel models on paper.

use super::{Format, Report, Section, count};
use crate::answer::Transfer;

/// Heads of the columns of errors.
const ERRORS: [&str; 8] = ["n", "median", "MAPE", "p90", "bias", "ln q10", "ln q50", "ln q90"];

/// Degrees of trust in the order of the document, with what they say.
const TRUSTS: [(&str, &str); 6] = [
    ("fitted", "Its own calibration (samples that it was fitted on: held-out errors stand above)"),
    ("same_chip", "Another board of the same chip"),
    ("same_family", "Same generation of tensor cores and kind of memory, another chip"),
    ("other_family", "Another generation of the vendor, same kind of memory"),
    ("family_default", "Defaults of the family, fitted to another member"),
    ("default", "Defaults that were judged, not fitted"),
];

/// The chapter of `docs/ACCURACY.md` on accelerators without a calibration of their own.
pub(super) fn transfer_chapter(out: &mut String, transfers: &[Transfer]) {
    out.push_str(
        "## Transfer, left out one GPU\n\nEvery accelerator with operator tables predicted as if its own calibration did not \
         exist, by its nearest relative of every degree and by defaults (`just transfer`). ln q10, q50 and q90 are quantiles of \
         ln(measured / predicted); those by class of operator widen the intervals of answers.\n\n",
    );
    let pooled = |t: &&Transfer| t.gpu == "*" && t.dtype == "*";
    for (trust, words) in TRUSTS {
        let of = || transfers.iter().filter(|t| t.trust == trust);
        section(
            out,
            format!("{words}, by class"),
            of().filter(pooled),
            |t| vec![t.operator.clone()],
            &["class"],
        );
    }
    let named =
        |t: &Transfer| vec![t.operator.replace('_', " "), t.dtype.clone(), t.gpu.clone(), t.donor.clone()];
    for (trust, words) in
        TRUSTS.iter().filter(|(trust, _)| matches!(*trust, "same_chip" | "same_family" | "other_family"))
    {
        let of = transfers.iter().filter(|t| t.trust == *trust && t.gpu != "*" && t.dtype != "*");
        section(
            out,
            format!("{words}, by accelerator"),
            of,
            named,
            &["operator", "data type", "gpu", "donor"],
        );
    }
}

fn section<'a>(
    out: &mut String,
    title: String,
    list: impl Iterator<Item = &'a Transfer>,
    name: impl Fn(&Transfer) -> Vec<String>,
    heads: &[&str],
) {
    let mut section = Section::new(title, &[heads, &ERRORS[..]].concat());
    for t in list {
        let mut row = name(t);
        row.push(count(t.n as f64));
        row.extend([t.median_ape, t.mape, t.p90_ape].map(|v| format!("{v:.1} %")));
        row.push(format!("{:+.1} %", t.bias));
        row.extend([t.log_q10, t.log_q50, t.log_q90].map(|v| format!("{v:+.2}")));
        section.row(row);
    }
    out.push_str(&Format::Markdown.render(&Report { sections: vec![section], ..Report::default() }));
}
