//! `cargo xtask images --check`: the images start as their own user with only their files, and answer.

use testbed::paths;

#[test]
fn each_image_starts_and_answers_and_leaves_nothing() {
    let output = e2e::output(&mut e2e::xtask(&["images", "--quick", "--check"])).unwrap();
    let text = e2e::text(&output);
    assert!(
        output.status.success() && text.contains("start each image, and ask it"),
        "{text}"
    );
    assert!(!paths::target().join("images-check").exists(), "{text}");
}
