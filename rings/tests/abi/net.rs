//! Rows of `io/netif.h`. Names on the left are Xen's.

use rings::io::netif::{
    self, Extra, ExtraInfo, GsoType, RxFlags, RxRequest, RxResponse, TxFlags, TxRequest, TxResponse,
};
use rings::io::netif_ctrl::{
    self as ctrl, CtrlRequest, CtrlResponse, CtrlStatus, CtrlType, HashAlgorithm, HashFlags,
    HashType, NetifGref,
};
use zerocopy::IntoBytes;

use super::{Table, layout};

pub(super) fn put(t: &mut Table) {
    packets(t);
    extras(t);
    control(t);
}

fn packets(t: &mut Table) {
    layout!(t, "netif_tx_request" = TxRequest { gref, offset, flags, id, size });
    layout!(t, "netif_tx_response" = TxResponse { id, status });
    layout!(t, "netif_rx_request" = RxRequest { id, pad, gref });
    layout!(t, "netif_rx_response" = RxResponse { id, offset, flags, status });
    t.put_flags::<TxFlags>("NETTXF_", str::to_lowercase);
    t.put_flags::<RxFlags>("NETRXF_", str::to_lowercase);
    t.put("NETIF_RSP_DROPPED", netif::RSP_DROPPED);
    t.put("NETIF_RSP_ERROR", netif::RSP_ERROR);
    t.put("NETIF_RSP_OKAY", netif::RSP_OKAY);
    t.put("NETIF_RSP_NULL", netif::RSP_NULL);
    t.put("XEN_NETIF_NR_SLOTS_MIN", netif::NR_SLOTS_MIN);
    t.put("XEN_NETIF_MAX_TX_SIZE", netif::MAX_TX_SIZE);
    t.put_ring("netif_tx", netif::TX_SLOT);
    t.put_ring("netif_rx", netif::RX_SLOT);
}

/// Where the bytes `value` are in an extra, and nowhere else.
fn place(extra: Extra, value: &[u8]) -> usize {
    let info = extra.encode(false);
    let mut found = info.as_bytes().windows(value.len()).enumerate().filter(|(_, w)| *w == value);
    let (at, _) = found.next().expect("the value is in the extra");
    assert!(found.next().is_none(), "the value is in the extra twice");
    at
}

/// Fields of the union have no offset in Rust, where they are encoded: look where values end up.
fn extras(t: &mut Table) {
    layout!(t, "netif_extra_info" = ExtraInfo { kind = "type", flags, body = "u" });
    let gso = Extra::Gso { size: 0xa1a2, kind: GsoType::TcpV6, features: 0xb1b2 };
    t.put("offsetof netif_extra_info.u.gso.size", place(gso, &0xa1a2_u16.to_ne_bytes()));
    t.put("offsetof netif_extra_info.u.gso.type", place(gso, &[GsoType::TcpV6 as u8]));
    t.put("offsetof netif_extra_info.u.gso.features", place(gso, &0xb1b2_u16.to_ne_bytes()));
    let address = [0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6];
    let mcast = place(Extra::McastAdd(address), &address);
    assert_eq!(mcast, place(Extra::McastDel(address), &address));
    t.put("offsetof netif_extra_info.u.mcast.addr", mcast);
    let (kind, algorithm) = (HashType::Ipv6Tcp, HashAlgorithm::Toeplitz);
    let hash = Extra::Hash { kind, algorithm, value: 0xd4d3_d2d1 };
    t.put("offsetof netif_extra_info.u.hash.type", place(hash, &[kind as u8]));
    t.put("offsetof netif_extra_info.u.hash.algorithm", place(hash, &[1]));
    // Least significant octet first, whatever the CPU.
    t.put("offsetof netif_extra_info.u.hash.value", place(hash, &[0xd1, 0xd2, 0xd3, 0xd4]));

    t.put("XEN_NETIF_EXTRA_TYPE_NONE", netif::EXTRA_TYPE_NONE);
    t.put("XEN_NETIF_EXTRA_TYPE_GSO", netif::EXTRA_TYPE_GSO);
    t.put("XEN_NETIF_EXTRA_TYPE_MCAST_ADD", netif::EXTRA_TYPE_MCAST_ADD);
    t.put("XEN_NETIF_EXTRA_TYPE_MCAST_DEL", netif::EXTRA_TYPE_MCAST_DEL);
    t.put("XEN_NETIF_EXTRA_TYPE_HASH", netif::EXTRA_TYPE_HASH);
    t.put("XEN_NETIF_EXTRA_TYPE_MAX", netif::EXTRA_TYPE_MAX);
    t.put("XEN_NETIF_EXTRA_FLAG_MORE", netif::EXTRA_FLAG_MORE);
    let names = ["NONE", "TCPV4", "TCPV6"];
    t.put_all("XEN_NETIF_GSO_TYPE_", &names, GsoType::ALL.iter().map(|&g| g as u8));
}

fn control(t: &mut Table) {
    layout!(t, "xen_netif_ctrl_request" = CtrlRequest { id, kind = "type", data });
    layout!(t, "xen_netif_ctrl_response" = CtrlResponse { id, kind = "type", status, data });
    layout!(t, "xen_netif_gref" = NetifGref { gref = "ref", flags, status });
    t.put("XEN_NETIF_CTRLF_GREF_readonly", ctrl::GREF_READONLY);
    let types = [
        "INVALID",
        "GET_HASH_FLAGS",
        "SET_HASH_FLAGS",
        "SET_HASH_KEY",
        "GET_HASH_MAPPING_SIZE",
        "SET_HASH_MAPPING_SIZE",
        "SET_HASH_MAPPING",
        "SET_HASH_ALGORITHM",
        "GET_GREF_MAPPING_SIZE",
        "ADD_GREF_MAPPING",
        "DEL_GREF_MAPPING",
    ];
    t.put_all("XEN_NETIF_CTRL_TYPE_", &types, CtrlType::ALL.iter().map(|&c| c as u16));
    let statuses = ["SUCCESS", "NOT_SUPPORTED", "INVALID_PARAMETER", "BUFFER_OVERFLOW"];
    t.put_all("XEN_NETIF_CTRL_STATUS_", &statuses, CtrlStatus::ALL.iter().map(|&s| s as u32));
    let hashes = ["IPV4", "IPV4_TCP", "IPV6", "IPV6_TCP"];
    t.put_all("_XEN_NETIF_CTRL_HASH_TYPE_", &hashes, HashType::ALL.iter().map(|&h| h as u8));
    t.put_flags::<HashFlags>("XEN_NETIF_CTRL_HASH_TYPE_", str::to_owned);
    let algorithms = HashAlgorithm::ALL.iter().map(|&a| a as u32);
    t.put_all("XEN_NETIF_CTRL_HASH_ALGORITHM_", &["NONE", "TOEPLITZ"], algorithms);
    t.put_ring("xen_netif_ctrl", ctrl::CTRL_SLOT);
}
