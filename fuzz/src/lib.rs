//! What every model that a reader accepts must survive.

use foretoken::spec::ModelSpec;

/// Calls the arithmetic on a model; with overflow checks on, none of it may leave its type.
pub fn exercise(spec: &ModelSpec) {
    let parameters = spec.parameters();
    assert!(parameters.active <= parameters.total);
    assert!(parameters.embedding <= parameters.total);
    assert!(spec.kv_bytes_per_token(2.0) >= 0.0);
    for group in &spec.layers {
        let _ = group.mixer.state_bytes();
        let _ = group.mixer.window();
        assert!(group.mixer.cache_elements(1e6) >= 0.0);
    }
}
