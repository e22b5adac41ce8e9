//! What scripts say, against what happens. `UPDATE=1` rewrites what they say.

use geostream_sim::{play, scenarios};

#[test]
fn all_comes_as_the_scripts_say() {
    let update = std::env::var_os("UPDATE").is_some();
    for (path, script) in scenarios().unwrap() {
        let played = play(&script);
        assert!(update || !played.contains("error at"), "{}: {played}", path.display());
        if update {
            std::fs::write(&path, played).unwrap();
        } else {
            assert_eq!(played, script, "{} comes otherwise; UPDATE=1 rewrites it", path.display());
        }
    }
}
