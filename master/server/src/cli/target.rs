//! How a build is named on the command line.

use std::str::FromStr;

use super::client::{Build, Client, ClientError};

/// A build, or the request that leads to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// `17`: the build with this id.
    Build(i64),
    /// `runtests/3`: the third build of a builder (name or id).
    Numbered {
        /// Name or id.
        builder: String,
        /// Number within the builder.
        number: i64,
    },
    /// `request:20`: whatever builds this request has.
    Request(i64),
}

/// The text names no build.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a build: write a build id (17), BUILDER/NUMBER (runtests/3), request:ID, or the page's address")]
pub(crate) struct NoTarget(String);

impl FromStr for Target {
    type Err = NoTarget;

    fn from_str(text: &str) -> Result<Self, NoTarget> {
        let bad = || NoTarget(text.to_owned());
        // An address copied from the browser.
        if let Some((_, route)) = text.split_once("#/") {
            let parts: Vec<&str> =
                route.split('?').next().unwrap_or_default().trim_end_matches('/').split('/').collect();
            return match parts.as_slice() {
                ["builders", builder, "builds", number, ..] => {
                    let number = number.parse().map_err(|_| bad())?;
                    Ok(Self::Numbered { builder: (*builder).to_owned(), number })
                }
                ["buildrequests", id] => id.parse().map(Self::Request).map_err(|_| bad()),
                _ => Err(bad()),
            };
        }
        if let Some(id) = text.strip_prefix("request:") {
            return id.parse().map(Self::Request).map_err(|_| bad());
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Build(id));
        }
        let (builder, number) = text.rsplit_once(['/', '#']).ok_or_else(bad)?;
        let number = number.parse().map_err(|_| bad())?;
        if builder.is_empty() {
            return Err(bad());
        }
        Ok(Self::Numbered { builder: builder.to_owned(), number })
    }
}

impl Target {
    /// The build, or `None` for a request that has none yet. Of several builds of a request (after a retry) the last.
    pub(crate) async fn find_build(&self, client: &Client) -> Result<Option<Build>, ClientError> {
        match self {
            Self::Build(id) => client.one(&["builds", &id.to_string()]).await.map(Some),
            Self::Numbered { builder, number } => {
                client.one(&["builders", builder, "builds", &number.to_string()]).await.map(Some)
            }
            Self::Request(id) => {
                let builds: Vec<Build> = client.list(&["buildrequests", &id.to_string(), "builds"], &[]).await?;
                Ok(builds.into_iter().max_by_key(|build| build.buildid))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(builder: &str, number: i64) -> Target {
        Target::Numbered { builder: builder.to_owned(), number }
    }

    #[test]
    fn every_way_to_name_a_build() {
        let parse = |text: &str| text.parse::<Target>().unwrap();
        assert_eq!(parse("17"), Target::Build(17));
        assert_eq!(parse("runtests/3"), numbered("runtests", 3));
        assert_eq!(parse("deploy prod/a#3"), numbered("deploy prod/a", 3));
        assert_eq!(parse("request:20"), Target::Request(20));
        assert_eq!(parse("http://ci/x/#/builders/4/builds/5"), numbered("4", 5));
        assert_eq!(parse("#/builders/4/builds/5/steps/1/logs/stdio"), numbered("4", 5));
        assert_eq!(parse("http://ci/#/buildrequests/9?redirect_to_build=true"), Target::Request(9));
    }

    #[test]
    fn what_names_no_build_is_refused_with_the_ways_to_name_one() {
        for text in ["", "runtests", "runtests/x", "/3", "request:x", "http://ci/#/workers"] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains("BUILDER/NUMBER"), "{error}");
        }
    }
}
