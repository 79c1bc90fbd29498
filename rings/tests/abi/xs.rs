//! Rows of `io/xs_wire.h`. Names on the left are Xen's.

use rings::io::xs_wire::{self, XsdError, XsdSockmsg, XsdType, ring};

use super::{Table, layout};

pub(super) fn put(t: &mut Table) {
    layout!(t, "xsd_sockmsg" = XsdSockmsg { r#type = "type", req_id, tx_id, len });
    for ty in XsdType::ALL {
        t.put(format!("XS_{}", ty.name()), ty.number());
    }
    for (place, error) in XsdError::ALL.iter().enumerate() {
        t.put(format!("xsd_errors[{place}]"), error.name());
    }
    t.put("XENSTORE_PAYLOAD_MAX", xs_wire::XENSTORE_PAYLOAD_MAX);
    t.put("XENSTORE_ABS_PATH_MAX", xs_wire::XENSTORE_ABS_PATH_MAX);
    t.put("XENSTORE_REL_PATH_MAX", xs_wire::XENSTORE_REL_PATH_MAX);

    t.put("sizeof xenstore_domain_interface", ring::INTERFACE_SIZE);
    for (field, offset) in [
        ("req", ring::REQ),
        ("rsp", ring::RSP),
        ("req_cons", ring::REQ_CONS),
        ("req_prod", ring::REQ_PROD),
        ("rsp_cons", ring::RSP_CONS),
        ("rsp_prod", ring::RSP_PROD),
        ("server_features", ring::SERVER_FEATURES),
        ("connection", ring::CONNECTION),
        ("error", ring::ERROR),
    ] {
        t.put(format!("offsetof xenstore_domain_interface.{field}"), offset);
    }
    t.put("XENSTORE_RING_SIZE", ring::SIZE);
    t.put("XENSTORE_SERVER_FEATURE_RECONNECTION", ring::FEATURE_RECONNECTION);
    t.put("XENSTORE_SERVER_FEATURE_ERROR", ring::FEATURE_ERROR);
    t.put("XENSTORE_CONNECTED", ring::CONNECTED);
    t.put("XENSTORE_RECONNECT", ring::RECONNECT);
    t.put("XENSTORE_ERROR_NONE", ring::ERROR_NONE);
    t.put("XENSTORE_ERROR_COMM", ring::ERROR_COMM);
    t.put("XENSTORE_ERROR_RINGIDX", ring::ERROR_RINGIDX);
    t.put("XENSTORE_ERROR_PROTO", ring::ERROR_PROTO);
}
