//! Users: known by attributes such as e-mail addresses, and able to log in by name and password.

use std::collections::BTreeMap;

use buildguild_types::identifier::increment_identifier;
use buildguild_types::ids::UserId;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::sql::{column, execute, fetch_all, fetch_one, id};
use crate::{DbError, Tx, params};

/// The longest identifier of a user, in characters.
const IDENTIFIER_MAX: usize = 255;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub uid: UserId,
    /// What tells it from others, in words.
    pub identifier: String,
    /// The name to log in with.
    pub bb_username: Option<String>,
    /// The hash of the password to log in with.
    pub bb_password: Option<String>,
    /// What is known of it: `email`, `git`, ...
    pub attributes: BTreeMap<String, String>,
}

/// What to change of a user; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserUpdate {
    /// The identifier.
    pub identifier: Option<String>,
    /// The name to log in with and the hash of its password.
    pub login: Option<(String, String)>,
    /// An attribute: type and value.
    pub attribute: Option<(String, String)>,
}

const SELECT: &str = "SELECT uid, identifier, bb_username, bb_password FROM users";

fn from_row(row: &QueryResult) -> Result<User, DbError> {
    Ok(User {
        uid: id(row, "uid")?,
        identifier: column(row, "identifier")?,
        bb_username: column(row, "bb_username")?,
        bb_password: column(row, "bb_password")?,
        attributes: BTreeMap::new(),
    })
}

/// The user with this attribute; added, with this identifier or one made from it, if there is none.
///
/// # Errors
/// What the database reported.
pub async fn find_by_attribute(tx: &Tx, identifier: &str, attr_type: &str, attr_data: &str) -> Result<UserId, DbError> {
    let find = "SELECT uid FROM users_info WHERE attr_type = $1 AND attr_data = $2";
    let mut identifier = identifier.to_owned();
    loop {
        if let Some(row) = fetch_one(tx, find, params![attr_type, attr_data]).await? {
            return id(&row, "uid");
        }
        let sql = "INSERT INTO users (identifier) VALUES ($1) ON CONFLICT (identifier) DO NOTHING RETURNING uid";
        let Some(row) = fetch_one(tx, sql, params![identifier.as_str()]).await? else {
            // Another user has the identifier: it is only a label, so the next free one does as well.
            identifier = increment_identifier(IDENTIFIER_MAX, &identifier);
            continue;
        };
        let uid: UserId = id(&row, "uid")?;
        let sql = "INSERT INTO users_info (uid, attr_type, attr_data) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        if execute(tx, sql, params![uid, attr_type, attr_data]).await? > 0 {
            return Ok(uid);
        }
        // Somebody else added the attribute meanwhile: the user just made is one too many.
        execute(tx, "DELETE FROM users WHERE uid = $1", params![uid]).await?;
    }
}

/// A user.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, user: UserId) -> Result<Option<User>, DbError> {
    let row = fetch_one(connection, format!("{SELECT} WHERE uid = $1"), params![user]).await?;
    with_attributes(connection, row).await
}

/// The user with this log-in name.
///
/// # Errors
/// What the database reported.
pub async fn get_by_username(connection: &impl ConnectionTrait, username: &str) -> Result<Option<User>, DbError> {
    let row = fetch_one(connection, format!("{SELECT} WHERE bb_username = $1"), params![username]).await?;
    with_attributes(connection, row).await
}

/// The id of the user with this identifier.
///
/// # Errors
/// What the database reported.
pub async fn id_of(connection: &impl ConnectionTrait, identifier: &str) -> Result<Option<UserId>, DbError> {
    let sql = "SELECT uid FROM users WHERE identifier = $1";
    fetch_one(connection, sql, params![identifier]).await?.as_ref().map(|row| id(row, "uid")).transpose()
}

/// All users, by id, without their attributes.
///
/// # Errors
/// What the database reported.
pub async fn list(connection: &impl ConnectionTrait) -> Result<Vec<User>, DbError> {
    fetch_all(connection, format!("{SELECT} ORDER BY uid"), params![]).await?.iter().map(from_row).collect()
}

/// Changes a user.
///
/// # Errors
/// [`DbError::NotFound`], or [`DbError::Conflict`] if another user has the identifier, the name or the attribute.
pub async fn update(tx: &Tx, user: UserId, update: &UserUpdate) -> Result<(), DbError> {
    let (username, password) = update.login.clone().unzip();
    let sql = "UPDATE users SET identifier = COALESCE($2, identifier), bb_username = COALESCE($3, bb_username),
                   bb_password = COALESCE($4, bb_password) WHERE uid = $1";
    let values = params![user, update.identifier.clone(), username, password];
    if execute(tx, sql, values).await? == 0 {
        return Err(DbError::NotFound("user"));
    }
    if let Some((attr_type, attr_data)) = &update.attribute {
        let sql = "INSERT INTO users_info (uid, attr_type, attr_data) VALUES ($1, $2, $3)
                   ON CONFLICT (uid, attr_type) DO UPDATE SET attr_data = excluded.attr_data";
        execute(tx, sql, params![user, attr_type, attr_data]).await?;
    }
    Ok(())
}

/// Removes a user with its attributes. Returns whether there was one.
///
/// # Errors
/// What the database reported.
pub async fn remove(tx: &Tx, user: UserId) -> Result<bool, DbError> {
    Ok(execute(tx, "DELETE FROM users WHERE uid = $1", params![user]).await? > 0)
}

async fn with_attributes(connection: &impl ConnectionTrait, row: Option<QueryResult>) -> Result<Option<User>, DbError> {
    let Some(row) = row else { return Ok(None) };
    let mut user = from_row(&row)?;
    let sql = "SELECT attr_type, attr_data FROM users_info WHERE uid = $1";
    user.attributes = fetch_all(connection, sql, params![user.uid])
        .await?
        .iter()
        .map(|row| Ok((column(row, "attr_type")?, column(row, "attr_data")?)))
        .collect::<Result<_, DbError>>()?;
    Ok(Some(user))
}
