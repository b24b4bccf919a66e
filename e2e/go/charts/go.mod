// What judges the chart: its README, its templates, whether its objects fit the API and are as good practice has them.
module vk-cmd.io/e2e/charts

go 1.26.0

tool (
	github.com/helm-unittest/helm-unittest/cmd/helm-unittest
	github.com/norwoodj/helm-docs/cmd/helm-docs
	github.com/yannh/kubeconform/cmd/kubeconform
	github.com/zegl/kube-score/cmd/kube-score
)
