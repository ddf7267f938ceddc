//! What the database may learn of an HTTP request, and what it may say about the response: settings that functions, policies and
//! triggers read (`request.*`) and write (`response.*`) on engines which have them.

/// An HTTP request as the database sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `request.method`: `GET`, `POST` …
    pub method: String,
    /// `request.path`, without the query string.
    pub path: String,
    /// `request.headers`: names in lower case with their values; of a repeated name the last one counts.
    pub headers: Vec<(String, String)>,
    /// `request.cookies`: name and value.
    pub cookies: Vec<(String, String)>,
}

/// What the database asked of the HTTP response, as it was set: a dialect reads and judges it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseSettings {
    /// `response.status`, if it was set.
    pub status: Option<String>,
    /// `response.headers`, if it was set: JSON, an array of objects with one member each.
    pub headers: Option<String>,
}

impl ResponseSettings {
    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.status.is_none() && self.headers.is_none()
    }
}
