//! The effective configuration as text: valid TOML, and beside every value where it comes from.

use std::path::Path;

use toml::Value;

use super::fields::Kind;
use super::sources::{Setting, Sources};

/// Values longer than this push their source to the side instead of widening the whole table.
const VALUE_COLUMNS: usize = 58;

/// All fields with meaning, value and source. `data_dir` is shown in place of a default that depends on the network.
#[must_use]
pub fn show(sources: &Sources, data_dir: &Path) -> String {
    let file = sources.file.as_ref().map_or("no file".to_owned(), |path| path.display().to_string());
    let mut out =
        format!("# Flags win over ALDIS_* variables, which win over the file ({file}), which wins over defaults.\n");
    for setting in &sources.settings {
        let mut value = value(setting);
        if setting.field.name == "data_dir" && setting.values.is_empty() {
            value = Some(Value::from(data_dir.display().to_string()).to_string());
        }
        let name = setting.field.name;
        let (line, source) = match value {
            Some(value) => (format!("{name} = {value}"), setting.source.to_string()),
            None => (format!("# {name} ="), "not set".to_owned()),
        };
        out.push_str(&format!("\n# {}\n{line:VALUE_COLUMNS$}  # {source}\n", setting.field.meaning));
    }
    out
}

fn value(setting: &Setting) -> Option<String> {
    let first = setting.values.first();
    match setting.field.kind {
        Kind::Many => Some(Value::from(setting.values.clone()).to_string()).filter(|_| !setting.values.is_empty()),
        Kind::One => first.map(|text| match text.parse::<i64>() {
            Ok(number) if number.to_string() == *text => text.clone(),
            _ => Value::from(text.as_str()).to_string(),
        }),
        Kind::Switch => first.map(|text| matches!(text.as_str(), "true" | "on" | "yes" | "1").to_string()),
        Kind::Json => {
            let json: serde_json::Value = serde_json::from_str(first?).ok()?;
            Value::try_from(json).ok().map(|value| value.to_string())
        }
    }
}
