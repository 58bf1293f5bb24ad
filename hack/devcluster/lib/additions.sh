# What runs in the cluster from the start: DNS, KubeRay, and on demand Kueue and Flux. Sourced, not run.

restricted_namespace() { # NAME
  kube create namespace "$1" --dry-run=client -o yaml | kube apply --server-side -f -
  kube label --overwrite namespace "$1" pod-security.kubernetes.io/enforce=restricted
}

required() { sed -n "s#^require $2 ##p" "$TOOLS/$1/go.mod"; } # MODULE PATH: the version

coredns() {
  has_image localhost/coredns:1 || import_binary localhost/coredns:1 coredns
  kube apply --server-side -f "$HERE/config/coredns.yaml"
  kube -n kube-system rollout status deployment/coredns --timeout=90s
}

kuberay() { # as its own kustomize configuration says, in a namespace that enforces Pod Security `restricted`
  local version image=localhost/kuberay-operator
  version=$(required kuberay github.com/ray-project/kuberay/ray-operator)
  if ! kube -n ray-system get deployment kuberay-operator -o yaml | grep -q "image: $image:$version"; then # its CRDs are large
    has_image "$image:$version" || import_binary "$image:$version" kuberay-operator manager
    restricted_namespace ray-system
    rm -rf "$STATE/kuberay"
    cp -r "$BIN/kuberay-config" "$STATE/kuberay"
    sed -e "s#@IMAGE@#$image#; s#@VERSION@#$version#" "$HERE/config/kuberay.yaml" >"$STATE/kuberay/kustomization.yaml"
    kube kustomize "$STATE/kuberay" | kube apply --server-side -f -
  fi
  kube -n ray-system rollout status deployment/kuberay-operator --timeout=180s
}

kueue() { # its own chart
  local version image=localhost/kueue
  version=$(required kueue sigs.k8s.io/kueue)
  has_image "$image:$version" || import_binary "$image:$version" kueue manager
  restricted_namespace kueue-system
  inside "$BIN/helm" upgrade --install kueue "$BIN/kueue-chart" --namespace kueue-system --wait --timeout 180s \
    --set controllerManager.manager.image.repository=$image --set controllerManager.manager.image.tag="$version" \
    --set controllerManager.manager.image.pullPolicy=Never
}

flux() { # kustomize-controller as a process beside the cluster, with a web server for what `publish` publishes
  kube apply --server-side --recursive -f "$BIN/flux-crds"
  kube wait --for=condition=Established --timeout=30s --recursive -f "$BIN/flux-crds"
  restricted_namespace flux-system
  mkdir -p "$STATE/artifacts"
  start artifacts python3 -m http.server 8099 --bind 127.0.0.1 --directory "$STATE/artifacts"
  start kustomize-controller env RUNTIME_NAMESPACE=flux-system "$BIN/kustomize-controller" --enable-leader-election=false \
    --feature-gates=ExternalArtifact=true --metrics-addr=127.0.0.1:18080 --health-addr=127.0.0.1:19440
  await 60 kustomize-controller inside bash -c 'exec 3<>/dev/tcp/127.0.0.1/19440'
}
