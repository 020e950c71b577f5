//! The settings that reach a task.

use proto::ErrorKind;

use super::*;

fn sent(options: &ConfigOptions) -> ConfigOptions {
    let mut arrived = ConfigOptions::default();
    TaskSettings::of(options).unwrap().apply(&mut arrived).unwrap();
    arrived
}

fn changed(pairs: &[(&str, &str)]) -> ConfigOptions {
    let mut options = ConfigOptions::default();
    for (key, value) in pairs {
        options.set(key, value).unwrap();
    }
    options
}

#[test]
fn changed_settings_arrive() {
    let options = changed(&[
        ("datafusion.execution.batch_size", "1234"),
        ("datafusion.execution.time_zone", "+05:45"),
        ("datafusion.execution.parquet.pushdown_filters", "true"),
        ("datafusion.execution.target_partitions", "7"),
        ("datafusion.optimizer.enable_dynamic_filter_pushdown", "false"),
        ("datafusion.optimizer.enable_topk_dynamic_filter_pushdown", "true"),
        ("datafusion.catalog.default_schema", "naïve &=%+ \n name"),
    ]);
    assert_eq!(sent(&options).entries(), options.entries());
}

#[test]
fn the_text_is_visible_ascii_and_short() {
    let text = TaskSettings::of(&changed(&[("datafusion.catalog.default_schema", "é\n")]))
        .unwrap()
        .text;
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
    assert!(text.len() < 300, "{text}");
}

#[test]
fn the_machines_own_defaults_are_sent() {
    let text = TaskSettings::of(&ConfigOptions::default()).unwrap().text;
    assert!(text.contains("target_partitions="), "{text}");
}

#[test]
fn settings_that_cannot_be_sent_are_refused() {
    let long = changed(&[("datafusion.catalog.default_schema", &"x".repeat(TEXT_BYTES_MAX))]);
    let error = TaskSettings::of(&long).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("more than 32768"), "{error}");

    let mut unset = ConfigOptions::default();
    unset.format.date_format = None;
    let error = TaskSettings::of(&unset).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("datafusion.format.date_format cannot be left without a value"),
        "{error}"
    );
}

#[test]
fn a_plan_without_settings_is_refused() {
    let error = TaskSettings::default()
        .apply(&mut ConfigOptions::default())
        .unwrap_err();
    assert!(error.to_string().contains("a plan arrived without them"), "{error}");
}
