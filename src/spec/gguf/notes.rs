//! What the reader had to assume, said once for all layers it concerns.

/// Different remarks about layers that are kept; a damaged file would otherwise fill the screen.
const MOST_REMARKS: usize = 20;

/// Collected remarks.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// About the model.
    pub(super) list: Vec<String>,
    layers: Vec<(String, u32)>,
}

impl Notes {
    /// A remark about one layer.
    pub(super) fn about_layer(&mut self, remark: String) {
        if let Some((_, count)) = self.layers.iter_mut().find(|(known, _)| *known == remark) {
            *count += 1;
        } else if self.layers.len() < MOST_REMARKS {
            self.layers.push((remark, 1));
        }
    }

    /// All of it, as warnings of the model.
    pub(super) fn into_warnings(self) -> Vec<String> {
        let layers = self.layers.into_iter().map(|(remark, count)| match count {
            1 => format!("in one layer, {remark}"),
            _ => format!("in {count} layers, {remark}"),
        });
        self.list.into_iter().chain(layers).collect()
    }
}
