// Helm 4: the chart is installed by it as well as by helm 3.
module vk-cmd.io/e2e/helm4

go 1.26.0

tool helm.sh/helm/v4/cmd/helm
