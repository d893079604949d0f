//! Where settings come from, and what is refused.

use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn later_sources_win_and_origins_are_told() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("buildguild.toml");
    std::fs::write(
        &file,
        "[cluster]\ncheck_in_interval = \"2s\"\nrescan_interval = 3\n[database]\nurl = \"postgres://u:correct-horse@h/d\"\n",
    )
    .expect("write");
    let s = Settings::load(
        Path::new("/srv/ci"),
        Some(&file),
        env(&[("BUILDGUILD__CLUSTER__RESCAN_INTERVAL", "250ms"), ("HOME", "/")]),
    )
    .expect("settings");
    assert_eq!(s.cluster.check_in_interval, Duration::from_secs(2));
    assert_eq!(s.cluster.rescan_interval, Duration::from_millis(250));
    assert_eq!(s.cluster.expire_after, Duration::from_secs(20));
    let line = |key: &str| s.effective().iter().find(|l| l.key == key).cloned().expect("key");
    assert_eq!(line("cluster.check_in_interval").origin, Origin::File(file.clone()));
    assert_eq!(line("cluster.rescan_interval").origin, Origin::Env("BUILDGUILD__CLUSTER__RESCAN_INTERVAL".to_owned()));
    assert_eq!(line("cluster.expire_after").origin, Origin::Default);
    assert_eq!(line("database.url").value, "postgres://u:***@h/d");
    assert!(!format!("{s:?}").contains("correct-horse"));
}

#[test]
fn all_problems_are_reported_with_suggestions() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("buildguild.toml");
    std::fs::write(&file, "[database]\npool_sise = 3\n[cluster]\nexpire_after = \"soon\"\n").expect("write");
    let error = Settings::load(Path::new("/srv/ci"), Some(&file), env(&[("BUILDGUILD__BROKER__ULR", "x")]))
        .expect_err("problems");
    let text = error.to_string();
    assert!(text.contains("unknown setting `database.pool_sise`; did you mean `database.pool_size`?"), "{text}");
    assert!(text.contains("unknown setting `BUILDGUILD__BROKER__ULR`; did you mean `broker.url`?"), "{text}");
    assert!(text.contains("cluster.expire_after: `soon` is not a duration"), "{text}");
}

#[test]
fn a_master_has_time_to_check_in_before_it_stops() {
    let load = |name: &str, value: &str| {
        let variables = env(&[(name, value)]);
        Settings::load(Path::new("/srv/ci"), None, variables).map_err(|error| error.to_string())
    };
    let text = load("BUILDGUILD__CLUSTER__EXPIRE_AFTER", "14s").expect_err("is refused");
    assert!(text.contains("cluster.expire_after: must be at least three times"), "{text}");
    assert!(load("BUILDGUILD__CLUSTER__EXPIRE_AFTER", "15s").is_ok());
    for name in ["check_in_interval", "rescan_interval"] {
        let variable = format!("BUILDGUILD__CLUSTER__{}", name.to_uppercase());
        for short in ["0s", "99ms"] {
            let text = load(&variable, short).expect_err("is refused");
            assert!(text.contains(&format!("cluster.{name}: must be at least 100ms")), "{text}");
        }
        assert!(load(&variable, "100ms").is_ok());
    }
}

#[test]
fn several_values_are_a_list_or_a_text_with_commas() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("buildguild.toml");
    let load = |value: &str, variables: &[(&str, &str)]| {
        std::fs::write(&file, format!("[web]\ntrusted_proxies = {value}\n")).expect("write");
        let settings = Settings::load(Path::new("/srv/ci"), Some(&file), env(variables));
        settings.map(|settings| settings.web.trusted_proxies).map_err(|error| error.to_string())
    };
    let both = Ok(vec!["10.0.0.0/8".to_owned(), "::1".to_owned()]);
    assert_eq!(load(r#"["10.0.0.0/8", "::1"]"#, &[]), both);
    assert_eq!(load(r#""10.0.0.0/8, ::1""#, &[]), both);
    assert_eq!(load(r#"["192.0.2.1"]"#, &[("BUILDGUILD__WEB__TRUSTED_PROXIES", "10.0.0.0/8,::1")]), both);
    assert_eq!(load("[]", &[]), Ok(Vec::new()));
    for wrong in ["1", "true", "[1]", r#"[["::1"]]"#, r#"["::1,::2"]"#] {
        let text = load(wrong, &[]).expect_err("is refused");
        assert!(text.contains("web.trusted_proxies: must be a list of texts"), "{wrong}: {text}");
    }
}

#[test]
fn a_secret_can_be_a_file() {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::write(dir.path().join("url"), "postgres://u:pw@h/d\n").expect("write");
    let file = dir.path().join("buildguild.toml");
    std::fs::write(&file, "[database]\nurl_file = \"url\"\n").expect("write");
    let s = Settings::load(Path::new("/srv/ci"), Some(&file), env(&[])).expect("settings");
    assert_eq!(s.database.url.map(|u| u.expose().to_owned()).as_deref(), Some("postgres://u:pw@h/d"));
}
