//! A little-endian cursor over an untrusted stream: counts what it has read, never reads past its
//! limit, and holds no more than one buffer of it.

use std::io::BufRead;

use crate::spec::SpecError;

/// Bytes of header taken for real. The largest tokenisers make about 30 MB.
const LARGEST_HEADER: u64 = 256 << 20;

/// Where reading stands in a file.
pub(super) struct Source<'a, R> {
    inner: R,
    file: &'a str,
    position: u64,
    limit: u64,
}

impl<'a, R: BufRead> Source<'a, R> {
    /// A cursor at the start of a file of `size` bytes, where that is known.
    pub(super) fn new(inner: R, file: &'a str, size: Option<u64>) -> Self {
        Self { inner, file, position: 0, limit: size.map_or(LARGEST_HEADER, |s| s.min(LARGEST_HEADER)) }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that may still be read.
    pub(super) fn remaining(&self) -> u64 {
        self.limit - self.position
    }

    /// The file as it is named in messages.
    pub(super) fn file(&self) -> &'a str {
        self.file
    }

    /// An error at this point of the file.
    pub(super) fn error(&self, problem: impl std::fmt::Display) -> SpecError {
        SpecError::Syntax {
            file: self.file.into(),
            format: "GGUF",
            message: format!("{problem} (at byte {})", self.position),
        }
    }

    /// The next N bytes of `what`.
    pub(super) fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], SpecError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// The next four bytes as a number.
    pub(super) fn u32(&mut self, what: &str) -> Result<u32, SpecError> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    /// The next eight bytes as a number.
    pub(super) fn u64(&mut self, what: &str) -> Result<u64, SpecError> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    /// A string; `None` when it is longer than `longest` (it is skipped then) or no UTF-8.
    pub(super) fn text(&mut self, longest: usize, what: &str) -> Result<Option<String>, SpecError> {
        let length = self.u64(what)?;
        match usize::try_from(length) {
            Ok(short) if short <= longest && length <= self.remaining() => {
                let mut bytes = vec![0; short];
                self.fill(&mut bytes, what)?;
                Ok(String::from_utf8(bytes).ok())
            }
            _ => self.skip(length, what).map(|()| None),
        }
    }

    /// Passes over bytes.
    pub(super) fn skip(&mut self, count: u64, what: &str) -> Result<(), SpecError> {
        self.check(count, what)?;
        let mut left = count;
        while left > 0 {
            let available = match self.inner.fill_buf() {
                Ok(buffer) => buffer.len() as u64,
                Err(e) => return Err(self.unreadable(&e)),
            };
            if available == 0 {
                return Err(self.error(format_args!("the file ends inside {what}")));
            }
            let step = available.min(left);
            self.inner.consume(usize::try_from(step).unwrap_or(usize::MAX));
            self.position += step;
            left -= step;
        }
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8], what: &str) -> Result<(), SpecError> {
        self.check(bytes.len() as u64, what)?;
        self.inner.read_exact(bytes).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => self.error(format_args!("the file ends inside {what}")),
            _ => self.unreadable(&e),
        })?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn check(&self, count: u64, what: &str) -> Result<(), SpecError> {
        if count > self.remaining() {
            let left = self.remaining();
            return Err(self.error(format_args!("{what} claims {count} bytes where {left} are left")));
        }
        Ok(())
    }

    fn unreadable(&self, error: &std::io::Error) -> SpecError {
        SpecError::Unreadable { file: self.file.into(), message: error.to_string() }
    }
}
