//! Words of a shell command line. Source: POSIX Shell Command Language, §2.2 "Quoting", §2.3 "Token
//! Recognition"; variables are left as they stand, and a line break counts as a blank.

/// A word, or the end of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// With its quotes removed.
    Word(String),
    /// `;`, `|`, `&`, `<` or `>`.
    Separator,
}

/// Splits a line into words.
pub(super) fn split(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = vec![];
    let mut word: Option<String> = None;
    let mut chars = line.chars().peekable();
    let open = |quote: char| format!("the launch line leaves a {quote} open; close it");
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                // A backslash before a line break, with blanks between them as pasted text has them
                Some(blank) if blank.is_whitespace() => tokens.extend(word.take().map(Token::Word)),
                Some(other) => word.get_or_insert_default().push(other),
                None => {}
            },
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(inner) => word.push(inner),
                        None => return Err(open('\'')),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                            Some('\n') => {}
                            Some(other) => word.extend(['\\', other]),
                            None => return Err(open('"')),
                        },
                        Some(inner) => word.push(inner),
                        None => return Err(open('"')),
                    }
                }
            }
            '#' if word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            ';' | '|' | '&' | '<' | '>' => {
                // The number of a redirected file (`2>`) is no word.
                let is_descriptor = |w: &String| {
                    matches!(c, '<' | '>') && w.len() == 1 && w.bytes().all(|b| b.is_ascii_digit())
                };
                tokens.extend(word.take().filter(|w| !is_descriptor(w)).map(Token::Word));
                tokens.push(Token::Separator);
            }
            blank if blank.is_whitespace() => tokens.extend(word.take().map(Token::Word)),
            other => word.get_or_insert_default().push(other),
        }
    }
    tokens.extend(word.map(Token::Word));
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let word = |t| match t {
            Token::Word(w) => w,
            Token::Separator => "␟".into(),
        };
        split(line).unwrap().into_iter().map(word).collect()
    }

    #[test]
    fn quotes_and_escapes_are_the_shells() {
        assert_eq!(words(r#"a 'b c' "d \"e\" $f" g\ h"#), ["a", "b c", r#"d "e" $f"#, "g", "h"]);
        assert_eq!(words("a \\\n  b"), ["a", "b"]);
        assert_eq!(words(r#"--x='{"a": 1}' ''"#), [r#"--x={"a": 1}"#, ""]);
    }

    #[test]
    fn commands_end() {
        assert_eq!(words("a 2>&1 | b"), ["a", "␟", "␟", "1", "␟", "b"]);
        assert_eq!(words("a # b c"), ["a"]);
        assert!(split("a 'b").is_err() && split("a \"b").is_err());
    }
}
