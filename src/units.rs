//! SI newtypes. Every quantity that crosses a room's border carries its unit in its type;
//! inside is always the SI base unit (seconds, bytes, FLOP). Only the products that mean
//! something are defined: [`Bytes`] over [`BytesPerSecond`] is [`Seconds`], and so on.

mod parse;
mod shown;

use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

pub use parse::{UnitError, parse_bandwidth, parse_bytes, parse_duration, parse_number};
pub use shown::{bytes_gib, count, duration, number, percent, percentile, usd};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub f64);

        impl $name {
            /// Nothing of it.
            pub const ZERO: Self = Self(0.0);

            /// The larger of the two.
            #[must_use]
            pub fn max(self, other: Self) -> Self {
                Self(self.0.max(other.0))
            }

            /// The smaller of the two.
            #[must_use]
            pub fn min(self, other: Self) -> Self {
                Self(self.0.min(other.0))
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                Self(iter.map(|x| x.0).sum())
            }
        }

        impl Mul<f64> for $name {
            type Output = Self;
            fn mul(self, factor: f64) -> Self {
                Self(self.0 * factor)
            }
        }

        impl Div<f64> for $name {
            type Output = Self;
            fn div(self, divisor: f64) -> Self {
                Self(self.0 / divisor)
            }
        }

        /// The ratio of two like quantities is a plain number.
        impl Div for $name {
            type Output = f64;
            fn div(self, other: Self) -> f64 {
                self.0 / other.0
            }
        }
    };
}

quantity!(
    /// Time in seconds.
    Seconds
);
quantity!(
    /// Memory or traffic in bytes.
    Bytes
);
quantity!(
    /// Bandwidth in bytes per second.
    BytesPerSecond
);
quantity!(
    /// Floating-point (or integer) operations; one multiply-add counts as two.
    Flops
);
quantity!(
    /// Operations per second.
    FlopsPerSecond
);
quantity!(
    /// Power in watts.
    Watts
);
quantity!(
    /// Money in US dollars.
    Usd
);

impl Div<BytesPerSecond> for Bytes {
    type Output = Seconds;
    fn div(self, rate: BytesPerSecond) -> Seconds {
        Seconds(self.0 / rate.0)
    }
}

impl Div<FlopsPerSecond> for Flops {
    type Output = Seconds;
    fn div(self, rate: FlopsPerSecond) -> Seconds {
        Seconds(self.0 / rate.0)
    }
}

/// One gibibyte, 2³⁰ bytes.
pub const GIB: f64 = 1_073_741_824.0;
/// One gigabyte, 10⁹ bytes.
pub const GB: f64 = 1e9;

impl Bytes {
    /// So many gibibytes.
    #[must_use]
    pub fn from_gib(gib: f64) -> Self {
        Self(gib * GIB)
    }

    /// In gibibytes, the unit in which memory is printed.
    #[must_use]
    pub fn gib(self) -> f64 {
        self.0 / GIB
    }
}
