//! The fields of JSON documents, with the path to each.

use serde_json::Value;

/// Returns the fields that differ, with the path to each, before and after.
pub(crate) fn changed_fields(before: &Value, after: &Value) -> Vec<(String, Value, Value)> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return vec![(String::new(), before.clone(), after.clone())];
    };
    let added = new.keys().filter(|key| !old.contains_key(*key));
    let mut fields = Vec::new();
    for key in old.keys().chain(added) {
        let before = old.get(key).unwrap_or(&Value::Null);
        let after = new.get(key).unwrap_or(&Value::Null);
        if before == after {
            continue;
        }
        fields.extend(changed_fields(before, after).into_iter().map(|(rest, before, after)| {
            let path = if rest.is_empty() { key.clone() } else { format!("{key}.{rest}") };
            (path, before, after)
        }));
    }
    fields
}

/// Returns the fields of a document, with the path to each.
pub(crate) fn leaves(whole: &Value) -> Vec<(String, Value)> {
    let Value::Object(fields) = whole else { return vec![(String::new(), whole.clone())] };
    let below = |(key, value): (&String, &Value)| match value {
        Value::Object(inner) if !inner.is_empty() => {
            let inner = leaves(value).into_iter();
            inner.map(|(rest, value)| (format!("{key}.{rest}"), value)).collect()
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => vec![(key.clone(), value.clone())],
    };
    fields.iter().flat_map(below).collect()
}

/// Writes a value on part of a line.
pub(crate) fn shortened(value: &Value) -> String {
    const WIDTH: usize = 100;
    let text = value.to_string();
    if text.chars().count() <= WIDTH {
        return text;
    }
    let cut: String = text.chars().take(WIDTH).collect();
    format!("{cut}...")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_told_by_the_fields_that_differ() {
        let before = json!({ "a": 1, "b": { "c": 2, "d": 3 }, "e": 4 });
        let after = json!({ "a": 1, "b": { "c": 5, "d": 3 }, "f": 6 });
        let fields = changed_fields(&before, &after);
        let names: Vec<_> = fields.iter().map(|(name, ..)| &**name).collect();
        assert_eq!(names, ["b.c", "e", "f"]);
        assert_eq!(fields[1], ("e".to_owned(), json!(4), Value::Null));
    }
}
