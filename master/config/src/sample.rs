//! What `buildguild create-master` writes.

/// A commented farm config that works as it is: it watches a Git repository and builds with a worker
/// inside the master.
pub const SAMPLE_CONFIG: &str = include_str!("sample.cfg");

/// A commented `buildguild.toml` for a master with that database and farm config.
pub fn sample_settings(database_url: &str, config_file: &str) -> String {
    let text = |s: &str| toml::Value::String(s.to_owned()).to_string();
    format!(
        "# How this master runs. What it builds is in {config_file}.
# Every setting can also be an environment variable: BUILDGUILD__DATABASE__URL and so on.
# `buildguild config show` lists all settings with their values and where these come from.

[farm]
config_file = {config}
# Versions of {config_file} are kept in the database, sealed with this key; all masters of a cluster share it.
# Without a key they are not kept.
storage_key_file = \"storage.key\"

[database]
# sqlite:///FILE (relative to this directory) or postgres://USER@HOST/NAME.
# url_file = \"database.url\" reads it from a file, which keeps a password out of this one.
url = {url}

[broker]
# How several masters hear of each other. One master alone needs none.
url = \"memory:\"

[telemetry]
# text or json
log_format = \"text\"
log_level = \"info\"
",
        config = text(config_file),
        url = text(database_url),
    )
}
