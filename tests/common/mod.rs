//! Helpers of the tests.
#![allow(dead_code, missing_docs)] // every test file uses a part of them

pub mod fake;
pub mod gguf;
pub mod schema;
