package condition

import (
	"fmt"
	"net/netip"
	"reflect"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// ipAddressType is the type ipaddress. Its name in CEL is the one that OpenFGA gives it.
var ipAddressType = cel.ObjectType("IPAddress")

// An ipAddress is a value of the type ipaddress.
type ipAddress struct{ addr netip.Addr }

// newIPAddress makes one address of IPv4 and the same written in IPv6, ::ffff:10.0.0.1.
func newIPAddress(addr netip.Addr) ipAddress { return ipAddress{addr.Unmap()} }

// ipAddressFunctions declares ipaddress(string) and ipaddress.in_cidr(string).
func ipAddressFunctions() cel.EnvOption {
	construct := cel.Function("ipaddress",
		cel.Overload("string_to_ipaddress", []*cel.Type{cel.StringType}, ipAddressType,
			cel.UnaryBinding(parseIPAddress)))
	inCIDR := cel.Function("in_cidr",
		cel.MemberOverload("ipaddr_in_cidr", []*cel.Type{ipAddressType, cel.StringType}, cel.BoolType,
			cel.BinaryBinding(inCIDR)))
	return func(e *cel.Env) (*cel.Env, error) {
		e, err := construct(e)
		if err != nil {
			return nil, err
		}
		return inCIDR(e)
	}
}

func parseIPAddress(arg ref.Val) ref.Val {
	s, ok := arg.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(arg)
	}
	addr, err := netip.ParseAddr(string(s))
	if err != nil {
		return types.NewErr("%v", err)
	}
	return newIPAddress(addr)
}

// inCIDR reports whether an address lies in a network. An IPv4 address lies in no IPv6
// network and the other way round, but for IPv4 networks written in IPv6.
func inCIDR(address, network ref.Val) ref.Val {
	ip, ok := address.(ipAddress)
	if !ok {
		return types.MaybeNoSuchOverloadErr(address)
	}
	s, ok := network.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(network)
	}
	prefix, err := netip.ParsePrefix(string(s))
	if err != nil {
		return types.NewErr("'%s' is a malformed CIDR string", string(s))
	}
	const mapped = 96 // bits before those of IPv4
	if prefix.Addr().Is4In6() && prefix.Bits() >= mapped {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mapped)
	}
	return types.Bool(prefix.Contains(ip.addr))
}

// ConvertToNative is part of ref.Val.
func (ip ipAddress) ConvertToNative(t reflect.Type) (any, error) {
	if reflect.TypeFor[ipAddress]().AssignableTo(t) {
		return ip, nil
	}
	if t.Kind() == reflect.String {
		return ip.addr.String(), nil
	}
	return nil, fmt.Errorf("an ipaddress cannot become %s", t)
}

// ConvertToType is part of ref.Val.
func (ip ipAddress) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.StringType:
		return types.String(ip.addr.String())
	case types.TypeType:
		return ipAddressType
	}
	return types.NewErr("an ipaddress cannot become %s", t)
}

// Equal is part of ref.Val.
func (ip ipAddress) Equal(other ref.Val) ref.Val {
	o, ok := other.(ipAddress)
	return types.Bool(ok && ip.addr == o.addr)
}

// Type is part of ref.Val.
func (ip ipAddress) Type() ref.Type { return ipAddressType }

// Value is part of ref.Val.
func (ip ipAddress) Value() any { return ip }
