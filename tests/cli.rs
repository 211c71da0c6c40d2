//! Recorded sessions of the command line in `tests/cli/*.md` and the README; `just trycmd` records them anew.
#![allow(missing_docs)]

#[test]
fn recorded_sessions() {
    trycmd::TestCases::new()
        .env("FORETOKEN_HOME", "")
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        // ages of prices are counted to this day, 2026-11-21
        .env("SOURCE_DATE_EPOCH", "1795219200")
        .case("tests/cli/*.md")
        .case("docs/cookbook.md")
        .case("README.md");
}
