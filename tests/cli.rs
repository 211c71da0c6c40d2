//! Recorded sessions of the command line in `tests/cli/*.md` and the README; `just trycmd` records them anew.
#![allow(missing_docs)]

#[test]
fn recorded_sessions() {
    trycmd::TestCases::new()
        .env("FORETOKEN_HOME", "")
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .case("tests/cli/*.md")
        .case("README.md");
}
