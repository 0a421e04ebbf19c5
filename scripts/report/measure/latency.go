package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
)

const getGCC = "install gcc (apt-get install gcc libc6-dev)"

// loaded is a line of the load generator.
type loaded struct {
	Name     string
	Requests int
	Bytes    int
	P50      float64 `json:"p50_us"`
	Ratio    float64
	RatioQ1  float64 `json:"ratio_q1"`
	RatioQ3  float64 `json:"ratio_q3"`
}

// load runs the load generator.
func (l *lab) load(ctx context.Context, args ...string) ([]loaded, error) {
	cmd := exec.CommandContext(ctx, l.files.own("load"), args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	var all []loaded
	for lines := json.NewDecoder(bytes.NewReader(out)); ; {
		var one loaded
		if err := lines.Decode(&one); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the load generator's figures: %w", err)
		}
		all = append(all, one)
	}
}

// target is the daemon's cached token for the load generator.
func (l *lab) target(mode string) string { return "tvpassd:" + mode + ":" + l.socket + ":" + tokenPath }

// latency compares the cached token with floors. Servers and generator share
// one processor and take turns: on two, the figures depend on where the
// scheduler puts them.
func latency(ctx context.Context, l *lab) (rows []row, err error) {
	kept := row{what: "cached token, keep-alive, p50 over a C echo", unit: "%.2f", budget: 2.5, stretch: 1.6}
	each := row{what: "cached token, a connection each, p50 over a C echo", unit: "%.2f"}
	oidc := row{what: "cached token, a connection each, p50 over oidc-agent", unit: "%.2f", budget: 1.0, stretch: 0.8}
	cpu, err := lastProcessor()
	if err != nil {
		return nil, err
	}
	daemon, err := l.daemon(ctx, cpu)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, daemon.stop()) }()
	if err := l.againstEcho(ctx, cpu, &kept, "http"); err != nil {
		return nil, err
	}
	if err := l.againstEcho(ctx, cpu, &each, "http-each"); err != nil {
		return nil, err
	}
	if err := l.againstAgent(ctx, cpu, &oidc); err != nil {
		return nil, err
	}
	return []row{kept, each, oidc}, nil
}

// againstEcho fills in a row with the daemon's latency over that of a C echo
// that treats connections alike.
func (l *lab) againstEcho(ctx context.Context, cpu int, r *row, mode string) (err error) {
	if !installed("gcc") {
		r.missing = getGCC
		return nil
	}
	program, socket := l.files.own("echo"), l.files.own(mode+".sock")
	compile := exec.CommandContext(ctx, "gcc", "-O2", "-pthread", "-o", program, l.files.c("echo.c"))
	if said, err := compile.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the C echo: %w\n%s", err, said)
	}
	args, floor := []string{socket}, "echo"
	if mode == "http-each" {
		args, floor = append(args, "each"), "echo-each"
	}
	echo, err := start(ctx, l.files.own("echo.log"), cpu, program, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, echo.kill()) }()
	if err := echo.untilListening(socket); err != nil {
		return err
	}
	return l.compare(ctx, cpu, r, "echo:"+floor+":"+socket, l.target(mode))
}

// againstAgent does the same against a running oidc-agent with an account
// loaded. It does not set one up.
func (l *lab) againstAgent(ctx context.Context, cpu int, r *row) error {
	socket, account := os.Getenv("OIDC_SOCK"), os.Getenv("OIDC_ACCOUNT")
	switch {
	case !installed("oidc-agent"):
		r.missing = "install oidc-agent (apt-get install oidc-agent-cli), load an account, set OIDC_SOCK and OIDC_ACCOUNT"
	case socket == "" || account == "":
		r.missing = "start oidc-agent, load an account into it, and set OIDC_SOCK and OIDC_ACCOUNT"
	default:
		return l.compare(ctx, cpu, r, "oidc-agent:oidc-each:"+socket+":"+account, l.target("http-each"))
	}
	return nil
}

// compare runs floor and target in turns and fills in the row with their ratio.
func (l *lab) compare(ctx context.Context, cpu int, r *row, floor, target string) error {
	got, err := l.load(ctx, "-cpu", strconv.Itoa(cpu), "-rounds", "15", "-for", "400ms", floor, target)
	if err != nil {
		return err
	}
	base, ours := got[0], got[1]
	r.value = ours.Ratio
	r.note = fmt.Sprintf("half of the rounds from %.2f to %.2f; %d bytes for the floor's %d; here %.1f us over %.1f us",
		ours.RatioQ1, ours.RatioQ3, ours.Bytes, base.Bytes, ours.P50, base.P50)
	return nil
}
