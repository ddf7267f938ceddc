//! Accounts over a real SQLite store, asked as clients ask: by request and answer, and by `@supabase/auth-js` as it is.

mod auth_js;
mod bad_input;
mod harness;
mod limits;
mod login;
mod refresh;
mod signup;
mod user;
