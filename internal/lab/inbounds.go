package lab

// inbound are RSTs that a peer of another host sends, most of which the kernel
// does not accept: net/ipv4/tcp_minisocks.c (tcp_check_req,
// tcp_timewait_state_process), tcp_input.c (tcp_validate_incoming,
// tcp_rcv_synsent_state_process, tcp_rcv_state_process) and RFC 5961.
var inbound = inFamilies([]Scenario{
	{ID: "inbound/request-exact", Title: "a RST ends a half-open connection", setup: inRequest(0)},
	{ID: "inbound/request-out-of-window", Title: "a RST out of the window of a half-open connection", setup: inRequest(far)},
	{ID: "inbound/request-inexact", Title: "a RST in the window of a half-open connection", setup: inRequest(100)},
	{ID: "inbound/syn-cookie", Title: "a RST in answer to a SYN cookie", setup: inCookie},
	{ID: "inbound/time-wait-exact", Title: "a RST ends a TIME_WAIT entry", setup: inTimeWait(true, 0, false)},
	{ID: "inbound/time-wait-inexact", Title: "a RST that a TIME_WAIT entry does not take", setup: inTimeWait(true, 100, false)},
	{ID: "inbound/time-wait-rfc1337", Title: "a RST that a TIME_WAIT entry does not take with tcp_rfc1337", setup: inTimeWait(true, 0, true)},
	{ID: "inbound/fin-wait2-exact", Title: "a RST ends what is left of a closed socket in FIN_WAIT2", setup: inTimeWait(false, 0, false)},
	{ID: "inbound/fin-wait2-inexact", Title: "a RST in the window does so, too", setup: inTimeWait(false, 100, false)},
	{ID: "inbound/accepted", Title: "a RST with the right sequence number", Early: EarlyKnown, setup: inAccepted},
	{ID: "inbound/accepted-after-fin", Title: "a RST with the sequence number of the FIN before it", setup: inAfterFIN},
	{ID: "inbound/inexact", Title: "a RST in the window draws a challenge ACK, a second one not even that", Early: EarlyKnown, setup: inEstablished("reset-challenged", 100, 100)},
	{ID: "inbound/out-of-window-right", Title: "a RST far ahead", Early: EarlyKnown, setup: inEstablished("reset-out-of-window", far)},
	{ID: "inbound/out-of-window-left", Title: "a RST far behind", Early: EarlyKnown, setup: inEstablished("reset-out-of-window", -far)},
	{ID: "inbound/checksum", Title: "a RST with a wrong checksum", setup: inSpoilt},
	{ID: "inbound/md5-unexpected", Title: "a RST with a signature that nobody asked for", setup: inSigned},
	{ID: "inbound/md5-missing", Title: "a RST without the signature that the socket asks for", setup: inUnsigned},
	{ID: "inbound/netfilter-drop", Title: "a firewall here drops a RST", setup: inDropped},
	{ID: "inbound/listen", Title: "a RST for no connection to a listening port", setup: inListen},
	{ID: "inbound/no-socket", Title: "a RST to a port on which nobody listens", setup: inNobody},
	{ID: "inbound/locked", Title: "a RST comes while the process is in a system call on the socket", setup: inLocked},
	{ID: "inbound/syn-sent", Title: "RSTs that do not fit a connect, then one that does", setup: inSynSent},
	{ID: "inbound/late-burst", Title: "the peer sends five segments after the process has closed", setup: inBurst},
	{ID: "inbound/reset-burst", Title: "a RST, and two more for nobody", setup: inMoreRSTs},
})

// families are the places of a scenario that makes its own network namespace
// and only asks for an address family.
var families = []Place{IPv4, IPv6, Mapped}

func inFamilies(all []Scenario) []Scenario {
	for i := range all {
		all[i].In = families
	}
	return all
}
