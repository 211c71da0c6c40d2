//! The `foretoken` binary: parse, answer, report.

fn main() {}
