package device

// The kinds of connection that connectionType names.
const (
	kindLAN           = "LAN"
	kindWiFi          = "WiFi"
	kindCellular      = "cellular"
	kindNotConnected  = "notConnected"
	kindNotAccessible = "notAccessible"
)

// connection is how the device is connected, and what says so.
type connection struct {
	kind, from string
	route      string // the interface that leads to the world; "" if there is none
}

// findConnection looks where packets to the world go: through the interface
// that the kernel uses, else through that of a default route in the main table,
// else through one that is up and has a subnet. The last is needed because
// Android, and every policy routing, keep their default routes in other tables.
// A tunnel is passed over, since what lies beneath it connects the device.
func (p *probe) findConnection() connection {
	routes, known := p.routes()
	ways, reachable := p.ways(routes)
	unknown := connection{kind: kindNotConnected, from: routes4}
	if !known {
		unknown.kind = kindNotAccessible
	}
	for _, w := range ways {
		if p.isDown(w.name) {
			p.passOver("connectionType", w.name, w.from, "it is down")
			continue
		}
		kind, through := p.interfaceKind(w.name)
		if unknown.route == "" {
			unknown = connection{kindNotAccessible, w.from + " " + w.name, w.name}
		}
		switch {
		case kind != "":
			return connection{kind, w.from + " " + w.name, w.name}
		case !through:
			p.passOver("connectionType", w.name, w.from, "nothing shows what it is")
			return unknown
		}
		p.passOver("connectionType", w.name, w.from, "it is a tunnel: what lies beneath it counts")
	}
	if reachable { // a subnet alone leads nowhere if the kernel knows no way
		if found := p.findSubnet(routes); found.kind != "" {
			return found
		}
	}
	return unknown
}

// ways lists the interfaces that lead to the world, the most important first.
// reachable is false if the kernel says that none does.
func (p *probe) ways(routes []route) (ways []route, reachable bool) {
	reachable = true
	if p.live {
		var name string
		if name, reachable = interfaceInUse(); name != "" {
			ways = append(ways, route{from: "kernel", name: name})
		}
	}
	for _, r := range routes {
		if r.world {
			ways = append(ways, r) // the kernel's again does no harm
		}
	}
	return ways, reachable
}

// findSubnet returns the best connection of an interface that is up and has a
// subnet: a cable before Wi-Fi before a modem.
func (p *probe) findSubnet(routes []route) connection {
	subnets := p.subnets(routes)
	found := map[string]connection{}
	for _, name := range p.interfaces() {
		if !subnets[name] || !p.isUp(name) {
			continue
		}
		kind, _ := p.interfaceKind(name)
		if _, have := found[kind]; kind != "" && !have {
			found[kind] = connection{kind, netFolder + name, name}
		}
	}
	for _, kind := range []string{kindLAN, kindWiFi, kindCellular} {
		if c, ok := found[kind]; ok {
			return c
		}
	}
	return connection{}
}
