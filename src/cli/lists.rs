//! Lists and ranges in flags: `16,32,64`, `128-4096*2`, `1-8+1`.

use crate::cli::args::{Choice, data_type, positive, positive_u32, rate, whole};

/// Most values of one flag.
const MOST: usize = 10_000;

/// Values of one flag, in the order given and each once.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct List<T>(pub Vec<T>);

impl<T: Clone> List<T> {
    /// Each value as given, or one that says that the flag is absent.
    pub(super) fn options(list: Option<&Self>) -> Vec<Option<T>> {
        list.map_or_else(|| vec![None], |l| l.0.iter().cloned().map(Some).collect())
    }
}

pub(super) fn words(text: &str) -> Result<List<String>, String> {
    list(text, |word| Ok(vec![word.to_owned()]))
}

pub(super) fn data_types(text: &str) -> Result<List<Choice>, String> {
    list(text, |word| data_type(word).map(|choice| vec![choice]))
}

pub(super) fn degrees(text: &str) -> Result<List<u32>, String> {
    list(text, |word| range(word, positive_u32))
}

pub(super) fn lengths(text: &str) -> Result<List<u64>, String> {
    list(text, |word| range(word, positive))
}

pub(super) fn prefixes(text: &str) -> Result<List<u64>, String> {
    list(text, |word| range(word, whole))
}

pub(super) fn rates(text: &str) -> Result<List<f64>, String> {
    list(text, |word| range(word, rate))
}

fn list<T: PartialEq>(
    text: &str,
    values: impl Fn(&str) -> Result<Vec<T>, String>,
) -> Result<List<T>, String> {
    if text.trim().is_empty() {
        return Err("the list is empty; give at least one value".into());
    }
    let mut all = vec![];
    for word in text.split(',').map(str::trim) {
        if word.is_empty() {
            return Err("a value is missing between two commas or at an end; write a,b,c".into());
        }
        for value in values(word)? {
            if all.contains(&value) {
                return Err(format!(
                    "`{word}` gives a value that stands in the list already; give each once"
                ));
            }
            all.push(value);
            if all.len() > MOST {
                return Err(format!("more than {MOST} values; give fewer, or a larger step"));
            }
        }
    }
    Ok(List(all))
}

/// One value, or those of `A-B*F` (each F times the one before) or `A-B+S` (each S more), up to B.
fn range<T>(word: &str, value: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let Some((first, rest)) = word.split_once('-').filter(|_| value(word).is_err()) else {
        return value(word).map(|v| vec![v]);
    };
    let form = || format!("`{word}` is no range; write one like 128-4096*2 or 1-8+1");
    let (last, step, grows) = match (rest.split_once('*'), rest.split_once('+')) {
        (Some((last, step)), None) => (last, step, true),
        (None, Some((last, step))) => (last, step, false),
        _ => return Err(form()),
    };
    let number = |text: &str| {
        let counted = || crate::units::parse_number(text).ok().map(|n| n as f64);
        text.trim().parse::<f64>().ok().or_else(counted).filter(|n| n.is_finite()).ok_or_else(form)
    };
    let (first, last, step) = (number(first)?, number(last)?, number(step)?);
    if (grows && (step <= 1.0 || first <= 0.0)) || step <= 0.0 {
        return Err(format!("`{word}` never ends; its factor must be above 1, its step above 0"));
    }
    if first > last {
        return Err(format!("`{word}` runs from the larger to the smaller; turn it round"));
    }
    let mut all = vec![];
    for k in 0..=MOST {
        let at = if grows { first * step.powi(k as i32) } else { first + k as f64 * step };
        // sums of decimal fractions in binary: 1.2000000000000002 is 1.2
        let at = (at * 1e9).round() / 1e9;
        if at > last {
            return Ok(all);
        }
        all.push(value(&at.to_string())?);
    }
    Err(format!("`{word}` has more than {MOST} values; give a larger step"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        assert_eq!(lengths("16,32,4k").unwrap().0, [16, 32, 4000]);
        assert_eq!(lengths("128-1024*2").unwrap().0, [128, 256, 512, 1024]);
        assert_eq!(degrees("1-8+3,9").unwrap().0, [1, 4, 7, 9]);
        assert_eq!(rates("0.5-1.5+0.1").unwrap().0.len(), 11);
        assert_eq!(rates("1e-3,2").unwrap().0, [0.001, 2.0]);
        assert_eq!(words("h100-sxm, h200-sxm").unwrap().0, ["h100-sxm", "h200-sxm"]);
        assert_eq!(prefixes("0-2k+1k").unwrap().0, [0, 1000, 2000]);
    }

    #[test]
    fn what_is_no_list_says_so() {
        for (text, says) in [
            ("", "empty"),
            (" ", "empty"),
            ("1,,2", "missing"),
            ("1,", "missing"),
            ("1,2,1", "already"),
            ("1-4+1,2", "already"),
            ("1-8", "no range"),
            ("8-1+1", "turn it round"),
            ("1-8*1", "never ends"),
            ("1-8+0", "never ends"),
            ("1-8*nan", "no range"),
            ("1-1e9+1", "larger step"),
            ("0-8*2", "never ends"),
            ("1-8+0.5", "whole number"),
            ("x", "whole number"),
            ("0,1", "at least 1"),
        ] {
            let error = degrees(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(data_types("int4,awq").is_err() && data_types("fp8,auto").is_ok());
    }
}
