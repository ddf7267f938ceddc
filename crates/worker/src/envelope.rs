//! CloudEvents 1.0, structured JSON mode (CloudEvents JSON format §3).

use mainstay_bus::Message;
use mainstay_model::{Type, ValueRef, write_json_string};

/// The media type of [`cloud_event`].
pub const MEDIA_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// A message as a CloudEvent.
pub fn cloud_event(message: &Message) -> String {
    let mut out = Vec::with_capacity(message.payload.len() + 256);
    out.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":");
    write_json_string(&message.id, &mut out);
    out.extend_from_slice(b",\"source\":\"/mainstay\",\"type\":");
    write_json_string(&message.topic, &mut out);
    if !message.key.is_empty() {
        out.extend_from_slice(b",\"subject\":");
        write_json_string(&message.key, &mut out);
    }
    out.extend_from_slice(b",\"time\":");
    ValueRef::Timestamp(message.time_us).write_json(&Type::TimestampTz, &mut out);
    if let Some(traceparent) = &message.traceparent {
        out.extend_from_slice(b",\"traceparent\":");
        write_json_string(traceparent, &mut out);
    }
    out.extend_from_slice(b",\"datacontenttype\":\"application/json\",\"data\":");
    out.extend_from_slice(if message.payload.is_empty() {
        b"null"
    } else {
        message.payload.as_bytes()
    });
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_json_with_the_required_attributes() {
        let mut message = Message {
            id: "1".into(),
            topic: "order.placed".into(),
            key: "a\"b".into(),
            time_us: 1_700_000_000_123_456,
            payload: "{\"n\":1}".into(),
            traceparent: Some("00-1-2-01".into()),
        };
        let json: serde_json::Value = serde_json::from_str(&cloud_event(&message)).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!({
                "specversion": "1.0", "id": "1", "source": "/mainstay", "type": "order.placed", "subject": "a\"b",
                "time": "2023-11-14T22:13:20.123456+00:00", "traceparent": "00-1-2-01", "datacontenttype": "application/json",
                "data": {"n": 1},
            })
        );
        // An attribute that is there is not empty (CloudEvents 1.0, subject).
        message.key = String::new();
        let json: serde_json::Value = serde_json::from_str(&cloud_event(&message)).expect("JSON");
        assert_eq!(json.get("subject"), None);
    }
}
