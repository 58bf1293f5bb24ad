module mora.dev/hack/flux-crds

go 1.26

require github.com/fluxcd/source-controller v1.9.6
