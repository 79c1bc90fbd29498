//! Rows of `io/console.h`, `grant_table.h` and `event_channel.h`. Names on the left are Xen's.

use rings::io::event_channel::{self, EvtchnStatus};
use rings::io::grant_table::{self, GntStatus, GrantEntry, GrantFlags, GrantType};
use rings::io::{console, grant_table::ENTRY_SIZE};
use rings::{DomId, Gref, Pfn, Port};

use super::{Headers, Table};

pub(super) fn put(t: &mut Table, headers: Headers) {
    console(t, headers);
    grants(t);
    t.put("sizeof evtchn_port_t", size_of::<Port>());
    let states = ["closed", "unbound", "interdomain", "pirq", "virq", "ipi"];
    t.put_all("EVTCHNSTAT_", &states, EvtchnStatus::ALL.iter().map(|&s| s as u32));
    t.put("EVTCHN_2L_NR_CHANNELS", event_channel::TWO_LEVEL_NR_CHANNELS);
}

fn console(t: &mut Table, headers: Headers) {
    t.put("offsetof xencons_interface.in", console::IN);
    t.put("offsetof xencons_interface.out", console::OUT);
    t.put("offsetof xencons_interface.in_cons", console::IN_CONS);
    t.put("offsetof xencons_interface.in_prod", console::IN_PROD);
    t.put("offsetof xencons_interface.out_cons", console::OUT_CONS);
    t.put("offsetof xencons_interface.out_prod", console::OUT_PROD);
    t.put("sizeof xencons_interface.in", console::IN_SIZE);
    t.put("sizeof xencons_interface.out", console::OUT_SIZE);
    t.put("MASK_XENCONS_IDX(0xfffffffe, in)", console::mask_in(0xffff_fffe));
    t.put("MASK_XENCONS_IDX(0xfffffffe, out)", console::mask_out(0xffff_fffe));
    match headers {
        Headers::BeforeXen4_21 => t.put("sizeof xencons_interface", console::SIZE_BEFORE_4_21),
        Headers::SinceXen4_21 => {
            t.put("sizeof xencons_interface", console::SIZE);
            t.put("offsetof xencons_interface.connection", console::CONNECTION);
            t.put("XENCONSOLE_CONNECTED", console::CONNECTED);
            t.put("XENCONSOLE_DISCONNECTED", console::DISCONNECTED);
        }
    }
}

/// Offset of the field that alone has bits set in this entry: the first octet that is not zero.
fn place(entry: GrantEntry) -> usize {
    let octets = entry.to_u64().to_le_bytes();
    octets.iter().position(|&octet| octet != 0).expect("a field is set")
}

fn grants(t: &mut Table) {
    t.put("sizeof grant_entry_v1", ENTRY_SIZE);
    let zero = GrantEntry::default();
    let flags = GrantFlags::from_bits_retain(0xffff);
    t.put("offsetof grant_entry_v1.flags", place(GrantEntry { flags, ..zero }));
    t.put("offsetof grant_entry_v1.domid", place(GrantEntry { domid: DomId(0xffff), ..zero }));
    t.put("offsetof grant_entry_v1.frame", place(GrantEntry { frame: Pfn(u32::MAX), ..zero }));
    t.put("GNTTAB_NR_RESERVED_ENTRIES", grant_table::NR_RESERVED_ENTRIES);
    t.put("GNTTAB_RESERVED_CONSOLE", grant_table::RESERVED_CONSOLE);
    t.put("GNTTAB_RESERVED_XENSTORE", grant_table::RESERVED_XENSTORE);
    t.put("DOMID_FIRST_RESERVED", DomId::FIRST_RESERVED);
    t.put("sizeof domid_t", size_of::<DomId>());
    t.put("sizeof grant_ref_t", size_of::<Gref>());

    let types = ["invalid", "permit_access", "accept_transfer", "transitive"];
    t.put_all("GTF_", &types, GrantType::ALL.iter().map(|&g| g as u16));
    t.put("GTF_type_mask", GrantFlags::TYPE_MASK);
    // The cache attributes alone keep their capitals.
    t.put_flags::<GrantFlags>("GTF_", |name| match name {
        "PWT" | "PCD" | "PAT" => name.to_owned(),
        _ => name.to_lowercase(),
    });

    let statuses = [
        "okay",
        "general_error",
        "bad_domain",
        "bad_gntref",
        "bad_handle",
        "bad_virt_addr",
        "bad_dev_addr",
        "no_device_space",
        "permission_denied",
        "bad_page",
        "bad_copy_arg",
        "address_too_big",
        "eagain",
        "no_space",
    ];
    t.put_all("GNTST_", &statuses, GntStatus::ALL.iter().map(|&s| s as i16));
}
