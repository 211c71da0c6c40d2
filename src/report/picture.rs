//! Pictures of an answer: what is drawn, not how. `terminal`, `svg` and `html` draw them.

pub(super) mod axis;

/// What an answer shows at a glance and draws.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Board {
    /// Title of a page, where the first line of the report's heading is none.
    pub title: String,
    /// The numbers that people came for.
    pub headline: Vec<Headline>,
    /// Pictures, the most asked for first.
    pub pictures: Vec<Picture>,
}

/// A number at the top of a page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headline {
    /// What it is.
    pub name: String,
    /// The number with its unit.
    pub value: String,
    /// Its interval, or what else belongs to it; empty for nothing.
    pub note: String,
}

impl Headline {
    /// A number with what belongs to it.
    pub fn new(name: impl Into<String>, value: impl Into<String>, note: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into(), note: note.into() }
    }
}

/// One picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// By which word it is chosen (`--plot=WORD`), with others of the same.
    pub key: &'static str,
    /// The tables of the answer show it already.
    pub printed: bool,
    /// It takes the whole width of a page.
    pub wide: bool,
    /// Title.
    pub title: String,
    /// What the marks mean, in a line; empty for nothing.
    pub note: String,
    /// What is drawn.
    pub drawing: Drawing,
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Drawing {
    /// Parts of a whole, one bar to scale.
    Stack(Stack),
    /// Lengths beside each other.
    Bars(Bars),
    /// Curves and points over two axes.
    Chart(Chart),
}

/// Parts of a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// The whole; parts beyond it are drawn past a line.
    pub whole: f64,
    /// The whole in words.
    pub whole_text: String,
    /// Parts in their order.
    pub parts: Vec<Bar>,
}

/// Lengths beside each other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bars {
    /// In their order.
    pub bars: Vec<Bar>,
    /// What a bar of the whole width stands for; the longest one where it is 0.
    pub full: f64,
}

/// A part or a length.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it is.
    pub name: String,
    /// How much, 0 or more.
    pub value: f64,
    /// How much, in words.
    pub text: String,
    /// A word that belongs to it (what bounds an operator); empty for none.
    pub kind: String,
}

/// Curves and points over two axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// What is drawn over them, in this order.
    pub series: Vec<Series>,
    /// Places that matter on the horizontal axis.
    pub marks: Vec<Mark>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// What it measures, with the unit unless values carry it.
    pub label: String,
    /// How values lie on it.
    pub spacing: Spacing,
    /// How values read.
    pub unit: Unit,
}

/// How values lie on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// By their size, from 0.
    Linear,
    /// By their logarithm.
    Log,
    /// The same, with ticks at powers of two.
    Doubling,
}

/// How the values of an axis read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds, in the unit that reads best.
    Seconds,
    /// US dollars.
    Dollars,
    /// A share, as a percentage.
    Share,
    /// A bare number.
    Number,
}

/// Points that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What they are; drawn beside them.
    pub name: String,
    /// How they are drawn.
    pub draw: Draw,
    /// Points, in the order in which they are joined.
    pub points: Vec<Point>,
}

/// How points are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// Joined, a mark at each.
    Line,
    /// Joined, with a few marks: too many points for one each.
    Curve,
    /// Joined, without marks: a limit that nothing passes, or a reference.
    Limit,
    /// Marks alone, named by letters or labels.
    Named,
    /// Small marks without names.
    Cloud,
    /// The one point that was asked for.
    Asked,
}

/// A point.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Point {
    /// Horizontally.
    pub x: f64,
    /// Vertically.
    pub y: f64,
    /// The ends of its interval on the vertical axis.
    pub ends: Option<[f64; 2]>,
    /// Share of the whole that it stands for, 0 to 1; 0 draws it as small as any.
    pub share: f64,
    /// What it is; empty where the axes say all.
    pub name: String,
}

impl Point {
    /// A point without a name.
    #[must_use]
    pub fn at(x: f64, y: f64) -> Self {
        Self { x, y, ..Self::default() }
    }
}

/// A place on the horizontal axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Where.
    pub at: f64,
    /// What is there.
    pub text: String,
}

impl Picture {
    /// A picture without a note, as wide as others.
    pub fn new(key: &'static str, title: impl Into<String>, drawing: Drawing) -> Self {
        Self { key, title: title.into(), note: String::new(), printed: false, wide: false, drawing }
    }
}

impl Axis {
    /// An axis.
    pub fn new(label: impl Into<String>, spacing: Spacing, unit: Unit) -> Self {
        Self { label: label.into(), spacing, unit }
    }
}

impl Chart {
    /// Points that both axes can show, with their series.
    fn drawable(&self) -> impl Iterator<Item = (&Series, &Point)> {
        self.series.iter().flat_map(|s| s.points.iter().map(move |p| (s, p))).filter(|(_, p)| self.shows(p))
    }

    /// True when the axes have a place for a point: logarithms of nothing have none.
    pub(super) fn shows(&self, point: &Point) -> bool {
        let fits = |v: f64, axis: &Axis| v.is_finite() && (axis.spacing == Spacing::Linear || v > 0.0);
        fits(point.x, &self.x) && fits(point.y, &self.y)
    }

    /// True when there is nothing to draw.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.drawable().next().is_none()
    }
}

impl Picture {
    /// True when there is nothing to draw.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.drawing {
            Drawing::Stack(stack) => stack.parts.is_empty() || stack.whole <= 0.0,
            Drawing::Bars(bars) => !bars.bars.iter().any(|b| b.value > 0.0),
            Drawing::Chart(chart) => chart.is_empty(),
        }
    }
}
