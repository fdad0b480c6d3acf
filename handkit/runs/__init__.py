"""What pretrain, finetune and selfsup do: a recipe to a method, the method to trained weights and what they measure."""
