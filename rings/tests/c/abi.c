/*
 * Prints what Xen's public headers say about the structures of rings::io, one "name = value" a
 * line: sizes, offsets, constants, slots of a ring. tests/full_abi.rs compares it with the Rust
 * side; tests/golden/abi-xen-4.17.txt is its output with Debian's libxen-dev 4.17.
 *
 * Not here: any number of our own. Every value comes out of a header.
 */
#include <errno.h> /* before xs_wire.h, whose error names need it */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/io/blkif.h>
#include <xen/io/console.h>
#include <xen/io/netif.h>
#include <xen/io/protocols.h>
#include <xen/io/xs_wire.h>

#define SIZE(type) printf("sizeof %s = %zu\n", #type, sizeof(struct type))
#define AT(type, field) printf("offsetof %s.%s = %zu\n", #type, #field, offsetof(struct type, field))
#define NUMBER(name) printf("%s = %lld\n", #name, (long long)(name))
#define STRING(name) printf("%s = %s\n", #name, name)
#define RING(name, order) \
	printf("ring %s order %d = %llu\n", #name, order, \
	       (unsigned long long)__CONST_RING_SIZE(name, 4096u << (order)))
#define RINGS(name) \
	do { RING(name, 0); RING(name, 1); RING(name, 2); RING(name, 3); RING(name, 4); } while (0)
#define HEADER(name) printf("offsetof %s_sring.ring = %zu\n", #name, offsetof(struct name##_sring, ring))

static void netif(void)
{
	SIZE(netif_tx_request);
	AT(netif_tx_request, gref);
	AT(netif_tx_request, offset);
	AT(netif_tx_request, flags);
	AT(netif_tx_request, id);
	AT(netif_tx_request, size);
	SIZE(netif_tx_response);
	AT(netif_tx_response, id);
	AT(netif_tx_response, status);
	SIZE(netif_rx_request);
	AT(netif_rx_request, id);
	AT(netif_rx_request, pad);
	AT(netif_rx_request, gref);
	SIZE(netif_rx_response);
	AT(netif_rx_response, id);
	AT(netif_rx_response, offset);
	AT(netif_rx_response, flags);
	AT(netif_rx_response, status);

	SIZE(netif_extra_info);
	AT(netif_extra_info, type);
	AT(netif_extra_info, flags);
	AT(netif_extra_info, u);
	AT(netif_extra_info, u.gso.size);
	AT(netif_extra_info, u.gso.type);
	AT(netif_extra_info, u.gso.features);
	AT(netif_extra_info, u.mcast.addr);
	AT(netif_extra_info, u.hash.type);
	AT(netif_extra_info, u.hash.algorithm);
	AT(netif_extra_info, u.hash.value);
	NUMBER(XEN_NETIF_EXTRA_TYPE_NONE);
	NUMBER(XEN_NETIF_EXTRA_TYPE_GSO);
	NUMBER(XEN_NETIF_EXTRA_TYPE_MCAST_ADD);
	NUMBER(XEN_NETIF_EXTRA_TYPE_MCAST_DEL);
	NUMBER(XEN_NETIF_EXTRA_TYPE_HASH);
	NUMBER(XEN_NETIF_EXTRA_TYPE_MAX);
	NUMBER(XEN_NETIF_EXTRA_FLAG_MORE);
	NUMBER(XEN_NETIF_GSO_TYPE_NONE);
	NUMBER(XEN_NETIF_GSO_TYPE_TCPV4);
	NUMBER(XEN_NETIF_GSO_TYPE_TCPV6);

	NUMBER(NETTXF_csum_blank);
	NUMBER(NETTXF_data_validated);
	NUMBER(NETTXF_more_data);
	NUMBER(NETTXF_extra_info);
	NUMBER(NETRXF_data_validated);
	NUMBER(NETRXF_csum_blank);
	NUMBER(NETRXF_more_data);
	NUMBER(NETRXF_extra_info);
	NUMBER(NETRXF_gso_prefix);
	NUMBER(NETIF_RSP_DROPPED);
	NUMBER(NETIF_RSP_ERROR);
	NUMBER(NETIF_RSP_OKAY);
	NUMBER(NETIF_RSP_NULL);
	NUMBER(XEN_NETIF_NR_SLOTS_MIN);
	NUMBER(XEN_NETIF_MAX_TX_SIZE);
	HEADER(netif_tx);
	HEADER(netif_rx);
	RINGS(netif_tx);
	RINGS(netif_rx);
}

static void netif_ctrl(void)
{
	SIZE(xen_netif_ctrl_request);
	AT(xen_netif_ctrl_request, id);
	AT(xen_netif_ctrl_request, type);
	AT(xen_netif_ctrl_request, data);
	SIZE(xen_netif_ctrl_response);
	AT(xen_netif_ctrl_response, id);
	AT(xen_netif_ctrl_response, type);
	AT(xen_netif_ctrl_response, status);
	AT(xen_netif_ctrl_response, data);
	SIZE(xen_netif_gref);
	AT(xen_netif_gref, ref);
	AT(xen_netif_gref, flags);
	AT(xen_netif_gref, status);
	NUMBER(XEN_NETIF_CTRLF_GREF_readonly);

	NUMBER(XEN_NETIF_CTRL_TYPE_INVALID);
	NUMBER(XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS);
	NUMBER(XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS);
	NUMBER(XEN_NETIF_CTRL_TYPE_SET_HASH_KEY);
	NUMBER(XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE);
	NUMBER(XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE);
	NUMBER(XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING);
	NUMBER(XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM);
	NUMBER(XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE);
	NUMBER(XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING);
	NUMBER(XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING);
	NUMBER(XEN_NETIF_CTRL_STATUS_SUCCESS);
	NUMBER(XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED);
	NUMBER(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
	NUMBER(XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW);
	NUMBER(_XEN_NETIF_CTRL_HASH_TYPE_IPV4);
	NUMBER(_XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP);
	NUMBER(_XEN_NETIF_CTRL_HASH_TYPE_IPV6);
	NUMBER(_XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP);
	NUMBER(XEN_NETIF_CTRL_HASH_TYPE_IPV4);
	NUMBER(XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP);
	NUMBER(XEN_NETIF_CTRL_HASH_TYPE_IPV6);
	NUMBER(XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP);
	NUMBER(XEN_NETIF_CTRL_HASH_ALGORITHM_NONE);
	NUMBER(XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ);
	HEADER(xen_netif_ctrl);
	RINGS(xen_netif_ctrl);
}

static void blkif(void)
{
	SIZE(blkif_request_segment);
	AT(blkif_request_segment, gref);
	AT(blkif_request_segment, first_sect);
	AT(blkif_request_segment, last_sect);
	SIZE(blkif_request);
	AT(blkif_request, operation);
	AT(blkif_request, nr_segments);
	AT(blkif_request, handle);
	AT(blkif_request, id);
	AT(blkif_request, sector_number);
	AT(blkif_request, seg);
	SIZE(blkif_request_discard);
	AT(blkif_request_discard, operation);
	AT(blkif_request_discard, flag);
	AT(blkif_request_discard, handle);
	AT(blkif_request_discard, id);
	AT(blkif_request_discard, sector_number);
	AT(blkif_request_discard, nr_sectors);
	SIZE(blkif_request_indirect);
	AT(blkif_request_indirect, operation);
	AT(blkif_request_indirect, indirect_op);
	AT(blkif_request_indirect, nr_segments);
	AT(blkif_request_indirect, id);
	AT(blkif_request_indirect, sector_number);
	AT(blkif_request_indirect, handle);
	AT(blkif_request_indirect, indirect_grefs);
	SIZE(blkif_response);
	AT(blkif_response, id);
	AT(blkif_response, operation);
	AT(blkif_response, status);

	NUMBER(BLKIF_OP_READ);
	NUMBER(BLKIF_OP_WRITE);
	NUMBER(BLKIF_OP_WRITE_BARRIER);
	NUMBER(BLKIF_OP_FLUSH_DISKCACHE);
	NUMBER(BLKIF_OP_RESERVED_1);
	NUMBER(BLKIF_OP_DISCARD);
	NUMBER(BLKIF_OP_INDIRECT);
	NUMBER(BLKIF_RSP_OKAY);
	NUMBER(BLKIF_RSP_ERROR);
	NUMBER(BLKIF_RSP_EOPNOTSUPP);
	NUMBER(BLKIF_DISCARD_SECURE);
	NUMBER(BLKIF_MAX_SEGMENTS_PER_REQUEST);
	NUMBER(BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST);
	NUMBER(VDISK_CDROM);
	NUMBER(VDISK_REMOVABLE);
	NUMBER(VDISK_READONLY);
	STRING(XEN_IO_PROTO_ABI_X86_64);
	STRING(XEN_IO_PROTO_ABI_X86_32);
	STRING(XEN_IO_PROTO_ABI_ARM);
	HEADER(blkif);
	RINGS(blkif);
}

static void console(void)
{
	struct xencons_interface page;

	SIZE(xencons_interface);
	AT(xencons_interface, in);
	AT(xencons_interface, out);
	AT(xencons_interface, in_cons);
	AT(xencons_interface, in_prod);
	AT(xencons_interface, out_cons);
	AT(xencons_interface, out_prod);
	printf("sizeof xencons_interface.in = %zu\n", sizeof(page.in));
	printf("sizeof xencons_interface.out = %zu\n", sizeof(page.out));
	printf("MASK_XENCONS_IDX(0xfffffffe, in) = %zu\n", (size_t)MASK_XENCONS_IDX(0xfffffffeu, page.in));
	printf("MASK_XENCONS_IDX(0xfffffffe, out) = %zu\n", (size_t)MASK_XENCONS_IDX(0xfffffffeu, page.out));
#ifdef XENCONSOLE_CONNECTED /* since 4.21 */
	AT(xencons_interface, connection);
	NUMBER(XENCONSOLE_CONNECTED);
	NUMBER(XENCONSOLE_DISCONNECTED);
#endif
}

static void grant_table(void)
{
	SIZE(grant_entry_v1);
	AT(grant_entry_v1, flags);
	AT(grant_entry_v1, domid);
	AT(grant_entry_v1, frame);
	NUMBER(GNTTAB_NR_RESERVED_ENTRIES);
	NUMBER(GNTTAB_RESERVED_CONSOLE);
	NUMBER(GNTTAB_RESERVED_XENSTORE);
	NUMBER(GTF_invalid);
	NUMBER(GTF_permit_access);
	NUMBER(GTF_accept_transfer);
	NUMBER(GTF_transitive);
	NUMBER(GTF_type_mask);
	NUMBER(GTF_readonly);
	NUMBER(GTF_reading);
	NUMBER(GTF_writing);
	NUMBER(GTF_PWT);
	NUMBER(GTF_PCD);
	NUMBER(GTF_PAT);
	NUMBER(GTF_sub_page);
	NUMBER(GNTST_okay);
	NUMBER(GNTST_general_error);
	NUMBER(GNTST_bad_domain);
	NUMBER(GNTST_bad_gntref);
	NUMBER(GNTST_bad_handle);
	NUMBER(GNTST_bad_virt_addr);
	NUMBER(GNTST_bad_dev_addr);
	NUMBER(GNTST_no_device_space);
	NUMBER(GNTST_permission_denied);
	NUMBER(GNTST_bad_page);
	NUMBER(GNTST_bad_copy_arg);
	NUMBER(GNTST_address_too_big);
	NUMBER(GNTST_eagain);
	NUMBER(GNTST_no_space);
	NUMBER(DOMID_FIRST_RESERVED);
	printf("sizeof grant_ref_t = %zu\n", sizeof(grant_ref_t));
	printf("sizeof domid_t = %zu\n", sizeof(domid_t));
}

static void event_channel(void)
{
	printf("sizeof evtchn_port_t = %zu\n", sizeof(evtchn_port_t));
	NUMBER(EVTCHNSTAT_closed);
	NUMBER(EVTCHNSTAT_unbound);
	NUMBER(EVTCHNSTAT_interdomain);
	NUMBER(EVTCHNSTAT_pirq);
	NUMBER(EVTCHNSTAT_virq);
	NUMBER(EVTCHNSTAT_ipi);
	NUMBER(EVTCHN_2L_NR_CHANNELS);
}

static void xs_wire(void)
{
	size_t i;

	SIZE(xsd_sockmsg);
	AT(xsd_sockmsg, type);
	AT(xsd_sockmsg, req_id);
	AT(xsd_sockmsg, tx_id);
	AT(xsd_sockmsg, len);
	SIZE(xenstore_domain_interface);
	AT(xenstore_domain_interface, req);
	AT(xenstore_domain_interface, rsp);
	AT(xenstore_domain_interface, req_cons);
	AT(xenstore_domain_interface, req_prod);
	AT(xenstore_domain_interface, rsp_cons);
	AT(xenstore_domain_interface, rsp_prod);
	AT(xenstore_domain_interface, server_features);
	AT(xenstore_domain_interface, connection);
	AT(xenstore_domain_interface, error);
	NUMBER(XS_CONTROL);
	NUMBER(XS_DIRECTORY);
	NUMBER(XS_READ);
	NUMBER(XS_GET_PERMS);
	NUMBER(XS_WATCH);
	NUMBER(XS_UNWATCH);
	NUMBER(XS_TRANSACTION_START);
	NUMBER(XS_TRANSACTION_END);
	NUMBER(XS_INTRODUCE);
	NUMBER(XS_RELEASE);
	NUMBER(XS_GET_DOMAIN_PATH);
	NUMBER(XS_WRITE);
	NUMBER(XS_MKDIR);
	NUMBER(XS_RM);
	NUMBER(XS_SET_PERMS);
	NUMBER(XS_WATCH_EVENT);
	NUMBER(XS_ERROR);
	NUMBER(XS_IS_DOMAIN_INTRODUCED);
	NUMBER(XS_RESUME);
	NUMBER(XS_SET_TARGET);
	NUMBER(XS_RESET_WATCHES);
	NUMBER(XS_DIRECTORY_PART);
	NUMBER(XENSTORE_RING_SIZE);
	NUMBER(XENSTORE_PAYLOAD_MAX);
	NUMBER(XENSTORE_ABS_PATH_MAX);
	NUMBER(XENSTORE_REL_PATH_MAX);
	NUMBER(XENSTORE_SERVER_FEATURE_RECONNECTION);
	NUMBER(XENSTORE_SERVER_FEATURE_ERROR);
	NUMBER(XENSTORE_CONNECTED);
	NUMBER(XENSTORE_RECONNECT);
	NUMBER(XENSTORE_ERROR_NONE);
	NUMBER(XENSTORE_ERROR_COMM);
	NUMBER(XENSTORE_ERROR_RINGIDX);
	NUMBER(XENSTORE_ERROR_PROTO);
	for (i = 0; i < sizeof(xsd_errors) / sizeof(xsd_errors[0]); i++)
		printf("xsd_errors[%zu] = %s\n", i, xsd_errors[i].errstring);
}

int main(void)
{
	netif();
	netif_ctrl();
	blkif();
	console();
	grant_table();
	event_channel();
	xs_wire();
	return 0;
}
