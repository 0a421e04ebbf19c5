package device

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// notPublic are blocks that look global, but by which nobody can reach this
// device (IANA's special-purpose address registries).
var notPublic = []string{
	"0.0.0.0/8",
	"100.64.0.0/10", // behind a provider's NAT
	"192.0.0.0/24",
	"192.0.2.0/24",
	"192.88.99.0/24",
	"198.18.0.0/15",
	"198.51.100.0/24",
	"203.0.113.0/24",
	"240.0.0.0/4",
	"2001::/23",
	"2001:db8::/32",
	"2002::/16",
	"3fff::/20",
}

// ConnectionIP returns an address as connectionIp sends it, and whether it is
// globally routable. A private one is left out: the server sees a better one
// itself.
func ConnectionIP(addr netip.Addr) (string, bool) {
	addr = addr.Unmap()
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.Zone() != "" ||
		addr.Is6() && !netip.MustParsePrefix("2000::/3").Contains(addr) {
		return "", false
	}
	for _, block := range notPublic {
		if netip.MustParsePrefix(block).Contains(addr) {
			return "", false
		}
	}
	return addr.String(), true
}

// Addresses far away. Nothing is sent to them, so any others would do.
const (
	target4 = "8.8.8.8:443"
	target6 = "[2001:4860:4860::8888]:443"
)

// AddressInUse returns the public address that this device sends from now. It is
// false if there is none, or if the way out does not lead through interfaceName
// ("" is any).
func AddressInUse(interfaceName string) (netip.Addr, bool) {
	for _, target := range []string{target6, target4} {
		addr, err := localAddress(target)
		if _, public := ConnectionIP(addr); err == nil && public &&
			(interfaceName == "" || hasAddress(interfaceName, addr)) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// localAddress asks the kernel from which address it would send to a target. It
// sends nothing: the kernel picks the address when a UDP socket is connected.
func localAddress(target string) (netip.Addr, error) {
	conn, err := net.Dial("udp", target)
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, net.UnknownNetworkError("udp")
	}
	return local.AddrPort().Addr().Unmap(), nil
}

// interfaceInUse asks the kernel by which interface it would send to the world;
// reachable is false if it has no way there.
func interfaceInUse() (name string, reachable bool) {
	for _, target := range []string{target4, target6} { // Adobe's hosts and most homes have IPv4
		addr, err := localAddress(target)
		if err != nil {
			call, ok := errors.AsType[*os.SyscallError](err)
			refused := ok && call.Syscall == "socket" && call.Err != unix.EAFNOSUPPORT // by a sandbox, which proves nothing
			reachable = reachable || refused
			continue
		}
		interfaces, err := net.Interfaces()
		if err != nil {
			return "", true
		}
		for _, i := range interfaces {
			if i.Flags&net.FlagLoopback == 0 && has(&i, addr) {
				return i.Name, true
			}
		}
		reachable = true
	}
	return "", reachable
}

func hasAddress(interfaceName string, addr netip.Addr) bool {
	i, err := net.InterfaceByName(interfaceName)
	return err == nil && has(i, addr)
}

func has(i *net.Interface, addr netip.Addr) bool {
	addrs, err := i.Addrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap() == addr
	})
}
