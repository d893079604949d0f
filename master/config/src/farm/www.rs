//! `c['www']`.

use std::collections::BTreeMap;

use buildguild_types::farm::FarmConfig;
use serde_json::{Map, Value, json};

use super::global::shape_of;
use super::{Lower, describe};
use crate::lang::{Node, ObjectNode};
use crate::schema::WWW_KEYS;

impl Lower<'_> {
    pub(super) fn www(&self, entries: &[(Node, Node)], farm: &mut FarmConfig) {
        let names: Vec<&str> = WWW_KEYS.iter().map(|(n, _, _)| *n).collect();
        for (name, value) in self.known(entries, "www", &names) {
            let Some((_, shape, available)) = WWW_KEYS.iter().find(|(n, _, _)| *n == name) else {
                continue;
            };
            if !shape.has(shape_of(value)) {
                let message = format!("c['www']['{name}'] must be {}, not {}", shape.describe(), describe(value));
                self.report.nested_key(&["www", name], message, None);
                continue;
            }
            if !available {
                let message = format!("c['www']['{name}'] is known to Buildbot but not available in this version");
                self.report.nested_key(&["www", name], message, None);
                continue;
            }
            let www = &mut farm.www;
            match (name, value) {
                ("port", node) => {
                    www.port = Self::json(node).ok().filter(|v| !v.is_null());
                    if let Some(port) = &www.port {
                        self.port(&["www", "port"], port);
                    }
                }
                ("plugins", node) => www.plugins = self.json_map(node),
                ("allowed_origins", node) => www.allowed_origins = super::builders::string_list(node),
                ("ui_default_config", node) => www.ui_default_config = self.json_map(node),
                ("ws_ping_interval", Node::Int(n)) => www.ws_ping_interval_secs = u64::try_from(*n).unwrap_or(0),
                ("auth", Node::Object(o)) => self.auth(o, farm),
                ("authz", Node::Object(o)) => farm.www.authz = Some(self.authz(o)),
                _ => {}
            }
        }
    }

    fn json_map(&self, node: &Node) -> BTreeMap<String, Value> {
        match Self::json(node) {
            Ok(Value::Object(map)) => map.into_iter().collect(),
            Ok(_) => BTreeMap::new(),
            Err(what) => {
                self.report.key("www", format!("c['www'] cannot hold {what}"), None);
                BTreeMap::new()
            }
        }
    }

    fn auth(&self, o: &ObjectNode, farm: &mut FarmConfig) {
        if o.class.name != "UserPasswordAuth" {
            return;
        }
        let mut users = BTreeMap::new();
        let mut add = |user: &Node, password: &Node| match (user, password) {
            (Node::Str(user), Node::Str(password)) => {
                users.insert(user.clone(), password.clone());
            }
            _ => self.report.argument(
                o,
                "users",
                "UserPasswordAuth: users are pairs of a name and a password",
                Some("read a password with env('NAME') or read_file('name')".to_owned()),
            ),
        };
        match o.arg("users") {
            Some(Node::Dict(entries)) => entries.iter().for_each(|(u, p)| add(u, p)),
            Some(Node::List(items)) => {
                for item in items {
                    match item {
                        Node::List(pair) if pair.len() == 2 => add(&pair[0], &pair[1]),
                        other => add(other, &Node::Null),
                    }
                }
            }
            _ => {}
        }
        farm.www.user_passwords = Some(users);
    }

    /// Rules as data: `{"allowRules": [{"matcher": class, ...}], "roleMatchers": [...]}`.
    fn authz(&self, o: &ObjectNode) -> Value {
        let list = |name: &str| -> Vec<Value> {
            match o.arg(name) {
                Some(Node::List(items)) => items
                    .iter()
                    .filter_map(|n| match n {
                        Node::Object(m) => Some(self.matcher(m)),
                        _ => None,
                    })
                    .collect(),
                _ => Vec::new(),
            }
        };
        json!({ "allowRules": list("allowRules"), "roleMatchers": list("roleMatchers") })
    }

    fn matcher(&self, o: &ObjectNode) -> Value {
        let mut map = Map::new();
        map.insert("matcher".to_owned(), o.class.name.into());
        for param in o.class.all_params() {
            let value = self.opt_renderable(o, param.name).and_then(|r| r.as_literal().cloned());
            map.insert(param.name.to_owned(), value.unwrap_or(Value::Null));
        }
        for (name, node) in &o.kwargs {
            map.insert(name.clone(), Self::json(node).unwrap_or(Value::Null));
        }
        Value::Object(map)
    }
}
